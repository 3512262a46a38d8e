"""RTSP without I/O: messages, transports, TCP reassembly, conversations, rewriting. Importable by anybody."""
