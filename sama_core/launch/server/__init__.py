"""A ComfyUI server of our own: started, asked, listened to, and always stopped."""
