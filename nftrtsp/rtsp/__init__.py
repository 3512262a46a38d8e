"""What the set-top boxes ask for: RTSP, and the helpers that open the way for the film."""
