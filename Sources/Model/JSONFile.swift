import FileIO
import FoundationEssentials

/// The bytes of a JSON file of at most 100 MB, the limit for the header of a safetensors file too.
let jsonLimit = 100_000_000

/// Reads and decodes a JSON file.
func decodeJSONFile<Content: Decodable>(
  _ type: Content.Type, path: String
) throws(ModelError) -> Content {
  let bytes: [UInt8]
  do throws(FileError) {
    bytes = try readFile(path, limit: jsonLimit)
  } catch {
    throw .unreadable(error)
  }
  do {
    let content = try JSONDecoder().decode(type, from: Data(bytes))
    if let key = bytes.withUnsafeBytes(duplicateKey) {
      throw ModelError.duplicateKey(path: path, key: key)
    }
    return content
  } catch let error as ModelError {
    throw error
  } catch {
    guard let key = offendingKey(error) else { throw .notJSON(path: path) }
    throw .badEntry(path: path, key: key, problem: "is missing or of the wrong kind")
  }
}

/// The path of the entry that could not be decoded; nil if the whole is not JSON.
private func offendingKey(_ error: any Error) -> String? {
  var path: [any CodingKey]
  switch error as? DecodingError {
  case .typeMismatch(_, let context), .valueNotFound(_, let context),
    .dataCorrupted(let context):
    path = context.codingPath
  case .keyNotFound(let key, let context):
    path = context.codingPath + [key]
  default:
    return nil
  }
  return path.isEmpty ? nil : path.map(\.stringValue).joined(separator: ".")
}

/// The first key that an object of `json` has twice. A decoder would silently drop one of the two.
///
/// - Precondition: a decoder accepted `json`. Anything else gives a meaningless answer.
package func duplicateKey(in json: UnsafeRawBufferPointer) -> String? {
  var objects: [Set<String>?] = []  // nil stands for an array
  var expectsKey = false
  var index = 0
  while index < json.count {
    switch json[index] {
    case UInt8(ascii: "{"):
      objects.append([])
      expectsKey = true
    case UInt8(ascii: "["):
      objects.append(nil)
      expectsKey = false
    case UInt8(ascii: "}"), UInt8(ascii: "]"):
      _ = objects.popLast()
      expectsKey = false
    case UInt8(ascii: ","):
      expectsKey = (objects.last ?? nil) != nil
    case UInt8(ascii: "\""):
      let start = index
      index = endOfString(json, from: start)
      guard expectsKey, let top = objects.indices.last else { break }
      expectsKey = false
      let key = unescaped(json, start..<min(index + 1, json.count))
      if objects[top]?.insert(key).inserted == false { return key }
    default:
      break
    }
    index += 1
  }
  return nil
}

/// The index of the quotation mark that ends the string that begins at `start`.
private func endOfString(_ json: UnsafeRawBufferPointer, from start: Int) -> Int {
  var index = start + 1
  while index < json.count && json[index] != UInt8(ascii: "\"") {
    index += json[index] == UInt8(ascii: "\\") ? 2 : 1
  }
  return index
}

private func unescaped(_ json: UnsafeRawBufferPointer, _ range: Range<Int>) -> String {
  let literal = json[range]
  if literal.contains(UInt8(ascii: "\\")),
    let key = try? JSONDecoder().decode(String.self, from: Data(literal))
  {
    return key
  }
  return String(decoding: literal.dropFirst().dropLast(), as: UTF8.self)
}

/// A key of a JSON object whose keys are not known beforehand.
struct AnyKey: CodingKey {
  let stringValue: String
  var intValue: Int? { nil }
  init(stringValue: String) { self.stringValue = stringValue }
  init?(intValue: Int) { nil }
}
