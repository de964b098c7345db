"""What do several methods share? Flat files of pure functions, or one small stateful object each."""
