import Crypto

/// The random numbers of torch's CPU generator and of numpy's `RandomState`: the 32-bit Mersenne
/// Twister (Matsumoto and Nishimura 1998, "Mersenne Twister: a 623-dimensionally equidistributed
/// uniform pseudo-random number generator", ACM TOMACS 8(1)), MT19937, with the parameters and the
/// seeding of 2002.
struct MersenneTwister {
  private static let size = 624
  private static let middle = 397

  private var state: [UInt32]
  private var position = MersenneTwister.size

  /// `torch.Generator().manual_seed(seed)`, which takes the lower 32 bits of a seed, and
  /// `numpy.random.RandomState(seed)`.
  init(seed: UInt32) {
    state = [seed]
    state.reserveCapacity(MersenneTwister.size)
    for index in 1..<UInt32(MersenneTwister.size) {
      let last = state[state.count - 1]
      state.append(1_812_433_253 &* (last ^ last >> 30) &+ index)
    }
  }

  /// TransformerLens 4.3's `derive_generator(seed, *labels)`: the first eight bytes of
  /// SHA-256("seed:label:label"), little-endian and without the sign bit, seed the generator.
  init(seed: UInt64, labels: [String]) {
    let key = ([String(seed)] + labels).joined(separator: ":")
    // Of the eight bytes the generator takes the lower four.
    let digest = SHA256.hash(data: Array(key.utf8)).prefix(4)
    self.init(seed: digest.reversed().reduce(0) { $0 << 8 | UInt32($1) })
  }

  mutating func next() -> UInt32 {
    if position == MersenneTwister.size { twist() }
    var y = state[position]
    position += 1
    y ^= y >> 11
    y ^= y << 7 & 0x9d2c_5680
    y ^= y << 15 & 0xefc6_0000
    return y ^ y >> 18
  }

  /// The next number of `torch.randint(0, bound)`, for bounds from 1 to 2^28. (Above that torch
  /// takes 64 bits a number.)
  mutating func next(below bound: UInt32) -> UInt32 { next() % bound }

  /// The next number of numpy's `random_sample()`, in [0, 1) with 53 bits.
  mutating func nextUnit() -> Double {
    let (high, low) = (next() >> 5, next() >> 6)
    return (Double(high) * 0x1p26 + Double(low)) * 0x1p-53
  }

  private mutating func twist() {
    let (size, middle) = (MersenneTwister.size, MersenneTwister.middle)
    for index in 0..<size {
      let following = state[(index + 1) % size]
      let mixed = state[index] & 0x8000_0000 | following & 0x7fff_ffff
      state[index] =
        state[(index + middle) % size] ^ mixed >> 1 ^ (following & 1 == 1 ? 0x9908_b0df : 0)
    }
    position = 0
  }
}
