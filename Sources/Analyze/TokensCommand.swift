import ArgumentParser
import FileIO
import FoundationEssentials
import Glibc
import Hub
import Model
import Terminal

struct TokensCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokens",
    abstract: "Shows how texts are split into tokens.",
    discussion: """
      Prints position, id and text of each token. Without TEXT, each line of standard input is a \
      text. A space at the start of a token is shown as ␣, control characters as escapes.
      """)

  @Argument(help: ArgumentHelp("The texts to split.", valueName: "text"))
  var texts: [String] = []

  @Option(name: .long, help: "A model, as for capture; only its tokenizer is read.")
  var model: String = "gpt2"

  @Flag(name: .long, help: "Do not put the beginning-of-text token before each text.")
  var noBos = false

  @Flag(name: .long, help: "Print an array of ids for each text instead of a table.")
  var json = false

  @Flag(
    name: .long,
    help: "Each line of standard input is a JSON string, which may hold any character.")
  var jsonl = false

  @Flag(
    name: .long,
    help: """
      The other way: each line of standard input is a JSON array of ids. Prints the text that they \
      stand for, with --json as a JSON string.
      """)
  var decode = false

  func validate() throws {
    if !texts.isEmpty, jsonl || decode {
      throw ValidationError("--jsonl and --decode read standard input; leave out the texts.")
    }
    if jsonl, decode { throw ValidationError("--jsonl and --decode exclude each other.") }
  }

  func run() throws {
    let tokenizer = try Tokenizer(directory: try locateModel(model, for: .tokenizer))
    if let doubt = tokenizer.doubt { printError("warning: \(doubt)") }
    if !texts.isEmpty {
      for (index, text) in texts.enumerated() { show(text, tokenizer, isFirst: index == 0) }
      return
    }
    var lines = InputLines()
    while let line = try lines.next() {
      if decode {
        try showText(of: line, tokenizer)
      } else {
        show(try text(of: line), tokenizer, isFirst: line.number == 1)
      }
    }
  }

  private func show(_ text: String, _ tokenizer: Tokenizer, isFirst: Bool) {
    let ids = (noBos ? [] : [tokenizer.endOfText]) + tokenizer.encode(text)
    if json {
      print("[\(ids.map(String.init).joined(separator: ","))]")
      return
    }
    var table = Table([.right, .right, .left])
    for (position, id) in ids.enumerated() {
      table.add([String(position), String(id), visible(tokenizer.piece(id))])
    }
    if !isFirst { print() }
    for line in table.lines() { print(line) }
  }

  private func text(of line: InputLines.Line) throws(TokensInputError) -> String {
    if jsonl {
      guard let text = try? JSONDecoder().decode(String.self, from: Data(line.bytes)) else {
        throw .notJSONString(line: line.number)
      }
      return text
    }
    guard let text = String(validating: line.bytes, as: UTF8.self) else {
      throw .notUTF8(line: line.number)
    }
    return text
  }

  private func showText(of line: InputLines.Line, _ tokenizer: Tokenizer) throws {
    guard let ids = try? JSONDecoder().decode([Int32].self, from: Data(line.bytes)) else {
      throw TokensInputError.notIDs(line: line.number)
    }
    if let id = ids.first(where: { !(0..<tokenizer.count ~= Int($0)) }) {
      throw TokensInputError.noSuchID(line: line.number, id: id, count: tokenizer.count)
    }
    let text = tokenizer.decode(ids)
    print(json ? String(decoding: try JSONEncoder().encode(text), as: UTF8.self) : text)
  }
}

/// Lines on standard input that `tokens` cannot use; lines count from 1.
enum TokensInputError: ReportableError {
  case unreadable(FileError)
  case notUTF8(line: Int)
  case notJSONString(line: Int)
  case notIDs(line: Int)
  case noSuchID(line: Int, id: Int32, count: Int)

  var description: String {
    switch self {
    case .unreadable(let error): "\(error)"
    case .notUTF8(let line):
      "line \(line) of standard input is not UTF-8 text; convert it, for example with iconv"
    case .notJSONString(let line):
      "line \(line) of standard input is not a JSON string; leave out --jsonl for plain text"
    case .notIDs(let line):
      "line \(line) of standard input is not a JSON array of token ids, such as [464, 3290]"
    case .noSuchID(let line, let id, let count):
      "line \(line) of standard input has the id \(id), but the ids of this tokenizer are 0 to "
        + "\(count - 1)"
    }
  }

  var exitCode: SysExit {
    if case .unreadable(let error) = self { error.exitCode } else { .badData }
  }
}

/// The lines of standard input, byte for byte, without the line feed that ends each.
private struct InputLines {
  struct Line {
    var number: Int
    var bytes: ArraySlice<UInt8>
  }

  private var buffer: [UInt8] = []
  private var start = 0
  private var number = 0
  private var atEnd = false

  mutating func next() throws(TokensInputError) -> Line? {
    var searched = start
    while true {
      if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        return take(to: end, next: end + 1)
      }
      if atEnd { return start < buffer.count ? take(to: buffer.count, next: buffer.count) : nil }
      buffer.removeSubrange(..<start)
      start = 0
      searched = buffer.count
      try fill()
    }
  }

  private mutating func take(to end: Int, next: Int) -> Line {
    number += 1
    defer { start = next }
    return Line(number: number, bytes: buffer[start..<end])
  }

  private mutating func fill() throws(TokensInputError) {
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    let count = read(STDIN_FILENO, &chunk, chunk.count)
    if count < 0, errno == EINTR { return }
    guard count >= 0 else {
      throw .unreadable(FileError(.read, "standard input", errno: errno))
    }
    atEnd = count == 0
    buffer += chunk.prefix(count)
  }
}
