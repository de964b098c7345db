"""What pays? `feedback` (what does a language model say of it?), `shaping` (how do I blend and bend rewards?)."""
