"""Echo the enclave's first byte on vsock port 9000, as nitro-cli does on the parent instance."""

import socket

PORT = 9000

with socket.socket(socket.AF_VSOCK) as listener:
    listener.bind((socket.VMADDR_CID_ANY, PORT))
    listener.listen()
    print("PARENT waits for a heartbeat", flush=True)
    while True:
        stream, (cid, _) = listener.accept()
        with stream:
            stream.sendall(stream.recv(1))
            print("PARENT heartbeat from CID", cid, flush=True)
