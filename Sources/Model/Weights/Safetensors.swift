import FileIO
import FoundationEssentials

/// A safetensors file, mapped, with every entry of its header checked.
///
/// The format: 8 bytes of header length, little-endian; the header, a JSON object that gives each
/// tensor's element type, shape and place; then the tensors' bytes, row-major and little-endian,
/// without overlap and without holes.
final class SafetensorsFile: Sendable {
  struct Tensor: Sendable, Equatable {
    /// As the header spells it: F32, F16, BF16, …
    let type: String
    let shape: [Int]
    /// The tensor's bytes, counted from the beginning of the file.
    let range: Range<Int>
  }

  let path: String
  let file: MappedFile
  let tensors: [String: Tensor]

  init(path: String) throws(ModelError) {
    do throws(FileError) {
      file = try MappedFile(path: path)
    } catch {
      throw .unreadable(error)
    }
    self.path = path
    tensors = try SafetensorsFile.tensors(of: file.bytes, path: path)
  }

  /// The tensors of a file with these bytes.
  ///
  /// - Parameter path: the name of the file for errors.
  static func tensors(
    of bytes: UnsafeRawBufferPointer, path: String
  ) throws(ModelError) -> [String: Tensor] {
    do throws(HeaderError) {
      return try checkedTensors(of: bytes)
    } catch {
      switch error {
      case .problem(let problem): throw .badTensorFile(path: path, problem: problem)
      case .elementType(let tensor, let type):
        throw .unsupportedElementType(path: path, tensor: tensor, type: type)
      }
    }
  }

  /// A tensor's bytes. Valid as long as `file` lives.
  func bytes(of tensor: Tensor) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: file.bytes[tensor.range])
  }
}

private enum HeaderError: Error {
  case problem(TensorFileProblem)
  case elementType(tensor: String, type: String)
}

/// Bytes of an element, by the names of the format. Types of less than a byte are left out.
private let elementSizes = [
  "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
  "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
  "U32": 4, "I32": 4, "F32": 4,
  "U64": 8, "I64": 8, "F64": 8, "C64": 8,
]

private func checkedTensors(
  of bytes: UnsafeRawBufferPointer
) throws(HeaderError) -> [String: SafetensorsFile.Tensor] {
  let headerEnd = try headerEnd(of: bytes)
  let entries = try decodeHeader(UnsafeRawBufferPointer(rebasing: bytes[8..<headerEnd]))
  var tensors: [String: SafetensorsFile.Tensor] = [:]
  tensors.reserveCapacity(entries.count)
  for (name, entry) in entries {
    let range = try checkedRange(name, entry, dataCount: bytes.count - headerEnd)
    tensors[name] = SafetensorsFile.Tensor(
      type: entry.type, shape: entry.shape,
      range: headerEnd + range.lowerBound..<headerEnd + range.upperBound)
  }
  try checkCoverage(tensors, from: headerEnd, to: bytes.count)
  return tensors
}

private func headerEnd(of bytes: UnsafeRawBufferPointer) throws(HeaderError) -> Int {
  guard bytes.count >= 8 else { throw .problem(.noHeader) }
  let claimed = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
  guard claimed <= UInt64(jsonLimit) else {
    throw .problem(.headerTooLong(bytes: claimed, limit: jsonLimit))
  }
  let length = Int(claimed)
  guard length <= bytes.count - 8 else {
    throw .problem(.headerPastEnd(bytes: length, available: bytes.count - 8))
  }
  return 8 + length
}

private func decodeHeader(
  _ json: UnsafeRawBufferPointer
) throws(HeaderError) -> [String: Header.Entry] {
  guard json.first == UInt8(ascii: "{") else { throw .problem(.headerNotJSON) }
  let header: Header
  do {
    header = try JSONDecoder().decode(Header.self, from: Data(json))
  } catch let error as Header.BadEntry {
    throw .problem(.badEntry(error.name))
  } catch {
    throw .problem(.headerNotJSON)
  }
  if let key = duplicateKey(in: json) { throw .problem(.duplicateKey(key)) }
  return header.entries
}

private struct Header: Decodable {
  struct Entry: Decodable {
    let type: String
    let shape: [Int]
    let offsets: [Int]

    enum CodingKeys: String, CodingKey {
      case type = "dtype"
      case shape
      case offsets = "data_offsets"
    }
  }

  struct BadEntry: Error {
    let name: String
  }

  var entries: [String: Entry] = [:]

  init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: AnyKey.self)
    for key in container.allKeys {
      do {
        if key.stringValue == "__metadata__" {
          _ = try container.decode([String: String].self, forKey: key)
        } else {
          entries[key.stringValue] = try container.decode(Entry.self, forKey: key)
        }
      } catch {
        throw BadEntry(name: key.stringValue)
      }
    }
  }
}

/// A tensor's place in the data, after checks of everything that can be said of it alone.
private func checkedRange(
  _ name: String, _ entry: Header.Entry, dataCount: Int
) throws(HeaderError) -> Range<Int> {
  guard let elementSize = elementSizes[entry.type] else {
    throw .elementType(tensor: name, type: entry.type)
  }
  guard let byteCount = product(entry.shape, times: elementSize) else {
    throw .problem(.badShape(tensor: name, shape: entry.shape))
  }
  guard entry.offsets.count == 2, entry.offsets[0] >= 0 else {
    throw .problem(.badEntry(name))
  }
  let (begin, end) = (entry.offsets[0], entry.offsets[1])
  guard begin <= end else { throw .problem(.offsetsReversed(tensor: name)) }
  guard end <= dataCount else {
    throw .problem(.offsetsPastEnd(tensor: name, end: end, available: dataCount))
  }
  guard end - begin == byteCount else {
    throw .problem(.wrongLength(tensor: name, bytes: end - begin, expected: byteCount))
  }
  return begin..<end
}

/// The product of sizes that are not negative; nil where it cannot be counted.
private func product(_ shape: [Int], times elementSize: Int) -> Int? {
  var product = elementSize
  for size in shape {
    let (next, overflow) = product.multipliedReportingOverflow(by: size)
    guard size >= 0, !overflow else { return nil }
    product = next
  }
  return product
}

/// Makes sure that every byte of the data belongs to exactly one tensor.
private func checkCoverage(
  _ tensors: [String: SafetensorsFile.Tensor], from start: Int, to end: Int
) throws(HeaderError) {
  let inOrder = tensors.sorted {
    ($0.value.range.lowerBound, $0.value.range.upperBound, $0.key)
      < ($1.value.range.lowerBound, $1.value.range.upperBound, $1.key)
  }
  var position = start
  var previous = ""
  for (name, tensor) in inOrder {
    if tensor.range.lowerBound < position {
      throw .problem(.overlap(tensor: name, with: previous))
    }
    if tensor.range.lowerBound > position { throw .problem(.hole(before: name)) }
    position = tensor.range.upperBound
    previous = name
  }
  if position < end { throw .problem(.trailingBytes(end - position)) }
}
