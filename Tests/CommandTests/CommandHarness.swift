import Dispatch
import Foundation
import TestSupport
import Testing

/// The built executables.
enum Program: String, CaseIterable {
  case capture, analyze, cachedump
}

/// What a program answered.
struct Answer: CustomStringConvertible {
  let command: String
  /// The exit status; nil if a signal ended the program.
  let status: Int32?
  let output: String
  let errors: String

  var lines: [String] { output.split(separator: "\n").map(String.init) }

  /// The last line on standard error: progress comes before it, the error's sentence stands there.
  var sentence: String { errors.split(separator: "\n").last.map(String.init) ?? "" }

  func json<Value: Decodable>(_ type: Value.Type) throws -> Value {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
    return try decoder.decode(type, from: Data(output.utf8))
  }

  var description: String {
    "\(command)\nstatus \(status.map(String.init) ?? "signal")\n\(output)\(errors)"
  }
}

struct HarnessError: Error, CustomStringConvertible {
  let description: String
}

extension Program {
  /// Seconds after which a program is killed. Those that the tests run need well under one.
  private static let limit = 60.0

  /// The folder of the executables: that of the test bundle, since SwiftPM builds all products into
  /// one folder, and else the package's own build folders.
  private static let folder = Result { () throws(HarnessError) in
    var folders = ["/proc/self/exe", CommandLine.arguments[0]].map {
      URL(fileURLWithPath: $0).resolvingSymlinksInPath().deletingLastPathComponent().path
    }
    folders += ["release", "debug"].map { repositoryPath(".build/\($0)") }
    let complete = folders.first { folder in
      allCases.allSatisfy {
        FileManager.default.isExecutableFile(atPath: "\(folder)/\($0.rawValue)")
      }
    }
    guard let complete else {
      throw HarnessError(description: "capture, analyze and cachedump are in none of \(folders)")
    }
    return complete
  }

  /// The folder in which all of them are.
  static func folderOfAll() throws -> String { try folder.get() }

  func path() throws -> String { "\(try Program.folderOfAll())/\(rawValue)" }

  /// Runs the program to its end.
  ///
  /// - Parameters:
  ///   - environment: variables to set beside those of the tests.
  ///   - input: what stands on standard input.
  ///   - directory: the working directory.
  ///   - output: a file to take standard output in place of the answer.
  ///   - blocks: the most blocks of 512 bytes that a file may get; more is refused with an error,
  ///     as on a full disk.
  func run(
    _ arguments: [String], environment: [String: String] = [:], input: String = "",
    directory: String? = nil, output: String? = nil, blocks: Int? = nil
  ) throws -> Answer {
    let folder = try TemporaryDirectory()
    let inputPath = try folder.write("input", input)
    let outputPath = try folder.write("output", "")
    let errorPath = try folder.write("errors", "")
    let process = Process()
    if let blocks {
      process.executableURL = URL(fileURLWithPath: "/bin/sh")
      process.arguments =
        ["-c", #"ulimit -f \#(blocks); exec "$@""#, "sh", try path()] + arguments
    } else {
      process.executableURL = URL(fileURLWithPath: try path())
      process.arguments = arguments
    }
    // Files, not pipes: nothing has to be read while the program runs.
    process.standardInput = try FileHandle(forReadingFrom: URL(fileURLWithPath: inputPath))
    process.standardOutput = try FileHandle(
      forWritingTo: URL(fileURLWithPath: output ?? outputPath))
    process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errorPath))
    // No test may ask the real hub for a model.
    process.environment = ProcessInfo.processInfo.environment
      .merging(["HF_HUB_OFFLINE": "1"]) { $1 }.merging(environment) { $1 }
    if let directory { process.currentDirectoryURL = URL(fileURLWithPath: directory) }

    let ended = DispatchSemaphore(value: 0)
    process.terminationHandler = { _ in ended.signal() }
    try process.run()
    let inTime = ended.wait(timeout: .now() + Program.limit) == .success
    if !inTime {
      kill(process.processIdentifier, SIGKILL)
      ended.wait()
    }
    let answer = Answer(
      command: ([rawValue] + arguments).joined(separator: " "),
      status: process.terminationReason == .exit ? process.terminationStatus : nil,
      output: try String(contentsOfFile: outputPath, encoding: .utf8),
      errors: try String(contentsOfFile: errorPath, encoding: .utf8))
    guard inTime else {
      throw HarnessError(description: "did not end within \(Program.limit) s: \(answer)")
    }
    return answer
  }

  /// Starts the program and leaves it running; what it prints is lost.
  ///
  /// - Parameter errors: a file to take standard error all the same.
  func start(_ arguments: [String], errors: String? = nil) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: try path())
    process.arguments = arguments
    process.standardOutput = FileHandle.nullDevice
    process.standardError =
      try errors.map { try FileHandle(forWritingTo: URL(fileURLWithPath: $0)) }
      ?? FileHandle.nullDevice
    try process.run()
    return process
  }

  /// Runs the program, which must succeed.
  @discardableResult
  func succeed(
    _ arguments: String..., environment: [String: String] = [:], input: String = "",
    directory: String? = nil, sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Answer {
    let answer = try run(
      arguments, environment: environment, input: input, directory: directory)
    try #require(answer.status == 0, "\(answer)", sourceLocation: sourceLocation)
    return answer
  }

  /// Runs the program, which must refuse: with this status, one sentence on standard error that
  /// holds all these words, and nothing on standard output.
  @discardableResult
  func refuse(
    _ arguments: String..., status: Int32, saying words: [String], input: String = "",
    environment: [String: String] = [:], blocks: Int? = nil,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Answer {
    let answer = try run(arguments, environment: environment, input: input, blocks: blocks)
    #expect(answer.status == status, "\(answer)", sourceLocation: sourceLocation)
    #expect(answer.output == "", "\(answer)", sourceLocation: sourceLocation)
    #expect(
      answer.sentence.hasPrefix("\(rawValue): "), "\(answer)", sourceLocation: sourceLocation)
    for word in words {
      #expect(
        answer.sentence.contains(word), "no “\(word)” in: \(answer)",
        sourceLocation: sourceLocation)
    }
    return answer
  }
}

/// Runs a command of the system, such as python3, to its end; the output is that on both streams.
func systemCommand(_ command: [String]) throws -> (status: Int32, output: String) {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = command
  let pipe = Pipe()
  process.standardOutput = pipe
  process.standardError = pipe
  try process.run()
  let output = pipe.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return (process.terminationStatus, String(decoding: output, as: UTF8.self))
}

/// Runs a Python that has numpy and lz4, which `make test` installs; without one the test fails.
func pythonWithNumPy(_ arguments: [String]) throws -> (status: Int32, output: String) {
  for interpreter in ["python3", "/usr/bin/python3"] {
    guard try systemCommand([interpreter, "-c", "import numpy, lz4.block"]).status == 0 else {
      continue
    }
    return try systemCommand([interpreter] + arguments)
  }
  throw HarnessError(
    description: "no python3 here has numpy and lz4; `make setup-tests` installs them")
}

/// A path in the repository.
func repositoryPath(_ name: String) -> String {
  // Tests/CommandTests/CommandHarness.swift
  URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent(name).path
}

extension TemporaryDirectory {
  func path(_ name: String) -> String { "\(path)/\(name)" }

  /// Writes a text file and returns its path.
  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    try Data(text.utf8).write(to: URL(fileURLWithPath: path(name)))
    return path(name)
  }
}

func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

/// The names in a directory, sorted.
func names(in directory: String) throws -> [String] {
  try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
}

func contents(_ path: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path)) }
