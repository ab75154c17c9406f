"""Reads the one QR code in a picture, with a reader that is not ours: rows of grey pixels on standard input, their width and
number as arguments; the bytes of the code on standard output."""

import sys

import zxingcpp

width, height = int(sys.argv[1]), int(sys.argv[2])
picture = memoryview(sys.stdin.buffer.read()).cast("B", shape=[height, width])
codes = zxingcpp.read_barcodes(picture)
if len(codes) != 1 or codes[0].format != zxingcpp.BarcodeFormat.QRCode:
    sys.exit(f"{len(codes)} codes in the picture: {codes}")
sys.stdout.buffer.write(codes[0].bytes)
