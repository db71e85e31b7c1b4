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

  /// Moves what stands behind the first `removed` bytes to the front.
  func removeFirst(_ removed: Int) {
    count -= removed
    base.copyMemory(from: base + removed, byteCount: count)
  }

  /// Makes room for `more` bytes.
  func reserve(_ more: Int) {
    guard room < more else { return }
    let (old, size) = (base, count + more)
    base = .allocate(byteCount: size, alignment: Alignment.bytes)
    base.copyMemory(from: old, byteCount: count)
    old.deallocate()
    capacity = size
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
