/// What one thread needs while it reads arrays: memory that is used over and over.
///
/// Unchecked, because one thread at a time uses it: the reader hands it out and takes it back.
final class ReadContext: @unchecked Sendable {
  let decoder = BlockDecoder()
  let scratch = ScratchPool()
  /// Blocks of segments that are not mapped.
  let block = ByteBuffer(capacity: 0)

  /// The last sum that was derived. Reading the residual stream of one layer after the other then
  /// adds one term at a time, instead of beginning with the embedding again.
  private let sum = ByteBuffer(capacity: 0)
  private var sumPlace: (hook: Int, prompt: Int, count: Int)?

  /// The prompt of the kept sum.
  var keptPrompt: Int? { sumPlace?.prompt }

  func keepSum(_ values: UnsafeMutableBufferPointer<Float>, hook: Int, prompt: Int) {
    guard let source = values.baseAddress else { return }
    sumPlace = nil
    sum.reserve(4 * values.count)
    sum.base.copyMemory(from: source, byteCount: 4 * values.count)
    sumPlace = (hook, prompt, values.count)
  }

  /// Fills `values` with the kept sum; false when it is not of this hook and prompt.
  func recallSum(into values: UnsafeMutableBufferPointer<Float>, hook: Int, prompt: Int) -> Bool {
    guard let sumPlace, sumPlace == (hook, prompt, values.count), let target = values.baseAddress
    else { return false }
    UnsafeMutableRawPointer(target).copyMemory(from: sum.base, byteCount: 4 * values.count)
    return true
  }
}
