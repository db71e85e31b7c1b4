@testable import FileIO
import Testing

@Suite struct PageBudgetTests {
  private static let size = 24 << 20

  /// Bytes of a file that this process has mapped.
  private func mapped(_ path: String) throws -> Int {
    var isFile = false
    var kilobytes = 0
    for line in try readProcFile("/proc/self/smaps").split(
      separator: "\n")
    {
      let words = line.split(separator: " ")
      if words.count > 1, words[0].contains("-") { isFile = line.hasSuffix(path) }
      if isFile, words[0] == "Rss:" { kilobytes += Int(words[1]) ?? 0 }
    }
    return kilobytes << 10
  }

  /// The most that is mapped of a file while it is read from front to back.
  private func peak(limit: Int) throws -> Int {
    let directory = try Directory()
    let block = (0..<256).flatMap { [UInt8](repeating: UInt8($0), count: 4096) }
    let bytes = (0..<PageBudgetTests.size / block.count).reduce(into: [UInt8]()) { all, _ in
      all += block
    }
    try replaceFile(directory.path("a"), with: bytes)
    let file = try MappedFile(path: directory.path("a"))
    let pages = PageBudget(limit: limit)
    pages.add(file)
    var most = 0
    for start in stride(from: 0, to: bytes.count, by: 1 << 20) {
      pages.note(1 << 20)
      let pages = stride(from: start, to: start + 1 << 20, by: 4096)
      #expect(pages.allSatisfy { file.bytes[$0] == UInt8($0 >> 12 & 255) })
      most = max(most, try mapped(directory.path("a")))
    }
    return most
  }

  @Test func pagesAreGivenBackAboveTheLimit() throws {
    let most = try peak(limit: 0)
    #expect(most > 0)
    // Between two looks 1 MiB is read, and faults map what is around it.
    #expect(most <= 5 << 20)
  }

  /// The system may take pages back too, where memory is short.
  @Test func pagesStayBelowIt() throws {
    let most = try peak(limit: .max)
    #expect(most > 5 << 20)
  }
}
