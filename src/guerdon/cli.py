"""The command `guerdon`."""

from __future__ import annotations

import difflib
import importlib
import os
import sys

COMMANDS = {
    "train": ("train:train", "Train a policy on a task by a reward expression"),
    "tune": ("tune:tune", "Train a language model on questions by a reward expression"),
    "evaluate": ("evaluate:evaluate", "Play episodes with a trained policy and say how they went"),
    "watch": ("watch:watch", "Watch a trained policy play, in the terminal, as an asciicast or a video"),
    "report": ("report:report", "Write one HTML page on one or more runs"),
    "fit": ("fit:fit", "Fit a reward model to a file of preferences"),
    "score": ("score:score", "Score a file of completions by a reward expression"),
    "serve": ("serve:serve", "Serve a reward over HTTP: OpenRLHF, vLLM's shapes, or rows"),
    "explain": ("explain:explain", "Show what each token, step and answer was paid, in the terminal and as a page"),
    "rescore": ("rescore:rescore", "Score a run's recorded rollouts with another reward and show what changes"),
    "label": ("label:label", "Let people prefer one of two texts or recorded episodes, in a web page"),
    "labels": ("labels:labels", "Look into a label store; export, import or correct its labels"),
    "audit": ("audit:audit", "Examine a reward model, server or judge on a benchmark: scores, biases, worst cases"),
    "list": ("list:list_", "List every reward: what it pays for, its paper, whether its claim holds"),
    "tasks": ("tasks:tasks", "List the tasks there are"),
    "judge-accuracy": ("judge_accuracy:judge_accuracy", "How well the recorded judge labels captions it has not seen"),
    "compare": ("compare:compare", "Say whether rewards mean the same: distances, what differs, a witness"),
    "probe": ("probe:probe", "Examine a reward: decay, noise, scale, episodes, cost, agreement with counts"),
    "collapse-step": ("collapse_step:collapse_step", "When a run that is paid by itself stops getting better"),
    "demo": ("demo:demo", "Train on NetHack with and without a language model's feedback, and write the report"),
}
"""Name -> (module:function in guerdon.commands, what it does). Modules are imported when their command is called."""


def main(args: list[str] | None = None) -> None:
    """Runs the command line; exits with 2 and one line when it was used wrongly, with 130 after Ctrl-C."""
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help", "help"):
        _help()
        return
    if args[0] in ("-V", "--version"):
        from guerdon import __version__

        print(__version__)
        return
    if args[0] not in COMMANDS:
        near = difflib.get_close_matches(args[0], COMMANDS, n=3)
        _fail(
            f"there is no command {args[0]!r}"
            + (f": did you mean {' or '.join(near)}?" if near else "; see guerdon --help")
        )
    import tyro

    sys.path.insert(0, "")  # so that module:MyReward() finds a module in the current folder
    module, _, function = COMMANDS[args[0]][0].partition(":")
    command = getattr(importlib.import_module(f"guerdon.commands.{module}"), function)
    try:
        tyro.cli(command, prog=f"guerdon {args[0]}", args=args[1:])
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, RuntimeError, LookupError, OSError, TypeError, ImportError) as error:
        if os.environ.get("GUERDON_TRACEBACK"):
            raise
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        _fail(f"{text}\n(GUERDON_TRACEBACK=1 shows where this was raised)")


def _fail(text: str) -> None:
    print(f"error: {text}", file=sys.stderr)
    sys.exit(2)


def _help() -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print("[bold]guerdon[/bold]: rewards for reinforcement-learning agents and language models\n")
    console.print("usage: guerdon COMMAND ...      guerdon COMMAND --help explains each\n", highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, (_, text) in COMMANDS.items():
        table.add_row(f"  [bold]{name}[/bold]", text)
    console.print(table)
    console.print(
        "\nfirst steps:\n"
        "  guerdon demo\n"
        '  guerdon train TrailOfDoors --reward "Extrinsic() + 0.1 * ONI()" --judge "RecordedJudge()" --run runs/first\n'
        "  guerdon watch runs/first",
        highlight=False,
    )


if __name__ == "__main__":
    main()
