"""What pays? One folder a question: `feedback` (what does a language model say of it?), `shaping` (how do I bend it?)."""
