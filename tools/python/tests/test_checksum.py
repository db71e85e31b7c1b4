"""CRC-32C by numpy, against the plain loop over bits."""

import unittest

import support  # noqa: F401
from patchbay import crc32c


def plain(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (crc & 1) * 0x82F63B78
    return crc ^ 0xFFFFFFFF


class ChecksumTest(unittest.TestCase):
    def without_native(self) -> None:
        native, crc32c._native = crc32c._native, None
        self.addCleanup(setattr, crc32c, "_native", native)

    def test_known_value(self):
        self.assertEqual(crc32c.crc32c(b"123456789"), 0xE3069283)
        self.without_native()
        self.assertEqual(crc32c.crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(crc32c.crc32c(b""), 0)

    def test_equals_the_plain_one_at_all_lengths(self):
        self.without_native()
        data = support.seeded(self).randbytes(60_000)
        folds = [degree + more for degree, _ in crc32c._FOLDS for more in (-1, 0, 1)]
        for length in (*range(70), 255, *folds, 1023, 4096, 11_371, 12_345, 60_000):
            self.assertEqual(crc32c.crc32c(data[:length]), plain(data[:length]), length)

    def test_goes_on_from_piece_to_piece(self):
        self.without_native()
        self.addCleanup(setattr, crc32c, "_PIECE", crc32c._PIECE)
        crc32c._PIECE = 1000
        data = support.seeded(self).randbytes(5000)
        for length in (999, 1000, 1001, 1002, 1003, 1004, 2000, 3001, 5000):
            self.assertEqual(crc32c.crc32c(data[:length]), plain(data[:length]), length)

    def test_the_powers_that_are_folded_are_equal(self):
        def power(exponent: int) -> int:
            value = 1
            for _ in range(exponent):
                value <<= 1
                value ^= (value >> 32) * 0x11EDC6F41
            return value

        for degree, exponents in crc32c._FOLDS:
            total = power(degree)
            for exponent in exponents:
                total ^= power(exponent)
            self.assertEqual(total, 0)


if __name__ == "__main__":
    unittest.main()
