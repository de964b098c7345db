"""Who else can use it? Our rewards in the forms that other libraries call; none of these files imports another."""
