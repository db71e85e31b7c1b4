/// Memory that is filled from the front, aligned to 64 bytes.
final class ByteBuffer {
  private(set) var capacity = 0
  private(set) var count = 0
  private(set) var base: UnsafeMutableRawPointer

  init(capacity: Int) {
    self.capacity = capacity
    base = .allocate(byteCount: max(1, capacity), alignment: Alignment.bytes)
  }

  deinit { base.deallocate() }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }
  /// Where the next byte goes.
  var end: UnsafeMutableRawPointer { base + count }
  var room: Int { capacity - count }

  func removeAll() { count = 0 }

  /// Makes room for `more` bytes in an empty buffer.
  func reserve(_ more: Int) {
    guard count == 0, capacity < more else { return }
    base.deallocate()
    base = .allocate(byteCount: more, alignment: Alignment.bytes)
    capacity = more
  }

  /// Counts `written` bytes at `end` as filled. There must have been room for them.
  func advance(_ written: Int) { count += written }

  func append(_ record: Record) {
    record.bytes.withUnsafeBytes {
      end.copyMemory(from: $0.baseAddress ?? .init(end), byteCount: $0.count)
    }
    count += Record.size
  }

  /// Fills with zeros up to a multiple of 64.
  func pad() {
    let zeros = (Alignment.bytes - count % Alignment.bytes) % Alignment.bytes
    end.initializeMemory(as: UInt8.self, repeating: 0, count: zeros)
    count += zeros
  }
}
