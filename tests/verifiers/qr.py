"""Reads the one QR code in a picture, with a reader that is not ours: rows of grey pixels on standard input, their width and
number as arguments; the bytes of the code on standard output.

Other kinds of codes are not looked for: in the noise that a dense QR code is, the reader now and then sees a short bar code."""

import sys

import zxingcpp

width, height = int(sys.argv[1]), int(sys.argv[2])
picture = memoryview(sys.stdin.buffer.read()).cast("B", shape=[height, width])
codes = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode)
if len(codes) != 1:
    sys.exit(f"{len(codes)} codes in the picture: {[(code.format, code.position, code.bytes) for code in codes]}")
sys.stdout.buffer.write(codes[0].bytes)
