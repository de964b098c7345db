"""Who else can use it? Our rewards in the forms that other libraries call.

Only the files that subclass a library's own class (`trl_trainer`, `verl_manager`) need that library to be imported.
"""
