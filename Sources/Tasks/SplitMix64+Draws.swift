import Patching

/// Draws that do not change with the standard library's, which promises no algorithm.
extension SplitMix64 {
  /// A number from 0 up to `count` - 1, all equally likely.
  ///
  /// - Parameter count: at least 1.
  public mutating func index(below count: Int) -> Int {
    // Lemire 2019, "Fast random integer generation in an interval": of the 2⁶⁴ products the first
    // 2⁶⁴ mod count low halves are one too many for some numbers.
    let bound = UInt64(max(1, count))
    let threshold = (0 &- bound) % bound
    while true {
      let product = next().multipliedFullWidth(by: bound)
      if product.low >= threshold { return Int(product.high) }
    }
  }

  /// One of a list that is not empty.
  public mutating func choice<Element>(_ list: [Element]) -> Element {
    list[index(below: list.count)]
  }

  /// So many different places of a list, in random order; fewer if it has fewer.
  public mutating func sample<Element>(_ count: Int, of list: [Element]) -> [Element] {
    var places: [Int] = []
    var taken: Set<Int> = []
    while places.count < min(count, list.count) {
      let place = index(below: list.count)
      if taken.insert(place).inserted { places.append(place) }
    }
    return places.map { list[$0] }
  }
}
