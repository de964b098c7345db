"""What pays? Folders by the question they answer.

`intrinsic`: how do I explore when nothing pays? `feedback`: what does a language model say of it? `likelihood`: what
does the model itself believe? `verifiable`: is it right? `shaping`: how do I blend and bend rewards?
"""
