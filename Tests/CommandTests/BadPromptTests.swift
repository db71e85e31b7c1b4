import Foundation
import TestSupport
import Testing

/// What `capture` says of prompt files, hooks and output directories that it cannot use.
@Suite struct BadPromptTests {
  private let shared: SharedCache
  private let folder: TemporaryDirectory

  init() throws {
    shared = try SharedCache.made()
    folder = try TemporaryDirectory()
  }

  /// A refused capture leaves no cache behind.
  private func refuse(
    prompts: String, _ arguments: String..., status: Int32, saying words: [String],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let out = folder.path("cache")
    let answer = try Program.capture.run(
      ["--model", shared.model, "--prompts", prompts, "--out", out] + arguments)
    #expect(answer.status == status, "\(answer)", sourceLocation: sourceLocation)
    #expect(answer.output == "", sourceLocation: sourceLocation)
    #expect(answer.errors.hasPrefix("capture: "), "\(answer)", sourceLocation: sourceLocation)
    for word in words {
      #expect(
        answer.sentence.contains(word), "no “\(word)” in \(answer)", sourceLocation: sourceLocation)
    }
    #expect(!exists(out), sourceLocation: sourceLocation)
  }

  @Test func aPromptFileThatIsNotThere() throws {
    try refuse(
      prompts: folder.path("none.txt"), status: 66,
      saying: ["there is no file \(folder.path("none.txt"))", ".txt or .jsonl"])
    try refuse(prompts: folder.path, status: 65, saying: [folder.path, "is not a plain file"])
  }

  @Test(arguments: ["", "\n\n", "# only a comment\n", "\u{FEFF}"])
  func aPromptFileWithoutPrompts(text: String) throws {
    let path = try folder.write("empty.txt", text)
    try refuse(prompts: path, status: 65, saying: [path, "there is no prompt in it"])
  }

  @Test func aFileOfAnotherKind() throws {
    let path = try folder.write("prompts.csv", "a,b\n")
    try refuse(prompts: path, status: 65, saying: [path, ".jsonl", "rename it"])
  }

  @Test(arguments: [
    ("ab\t\tA\tB", ["the corrupted column is empty"]),
    ("\tab\tA\tB", ["the clean column is empty"]),
    (
      "ab\tax\tmany\tB",
      ["the answer \"many\" is 4 tokens, \"m\" \"a\" \"n\" \"y\"; it must be one"]
    ),
    ("ab\tax\tA\t B", ["the wrong-answer \" B\" is 2 tokens"]),
    ("a\tb\tc\td\te", ["5 columns"]),
  ])
  func aLineThatDoesNotFit(line: String, words: [String]) throws {
    let path = try folder.write("bad.txt", "good\n\(line)\n")
    try refuse(prompts: path, status: 65, saying: ["\(path), line 2: "] + words)
  }

  @Test func aPromptLongerThanTheModelTakes() throws {
    let fits = String(repeating: "x", count: TinyModel.contextLength - 1)
    try Program.capture.succeed(
      "--model", shared.model, "--prompts", try folder.write("fits.txt", fits), "--out",
      folder.path("fits"))
    let path = try folder.write("long.txt", "ok\nok\t\(fits)x\n")
    try refuse(
      prompts: path, status: 65,
      saying: ["\(path), line 2", "corrupted prompt has 33 tokens and the model takes 32"])
    // Without <|endoftext|> it fits.
    try Program.capture.succeed(
      "--model", shared.model, "--prompts", path, "--out", folder.path("bare"), "--no-bos",
      "--quiet")
  }

  @Test(arguments: [
    ("{\"clean\": \"\"}", "clean"), ("{\"clean\": \"a\", \"corrupted\": \"\"}", "corrupted"),
    ("{\"clean\": \"a\", \"corupted\": \"b\"}", "unknown key \"corupted\""),
    ("[\"a\"]", "expected"), ("{\"clean\": \"a\"", "expected"),
    ("{\"clean\": \"a\", \"roles\": {\"S\": \"zz\"}}", "does not occur in the clean prompt"),
    ("{\"clean\": \"a\", \"roles\": {\"S\": 9}}", "at position 9"),
  ])
  func aLineOfJSONThatDoesNotFit(line: String, word: String) throws {
    let path = try folder.write("bad.jsonl", "\(line)\n")
    try refuse(prompts: path, status: 65, saying: ["\(path), line 1: ", word])
  }

  @Test func bytesThatAreNotText() throws {
    let path = folder.path("latin1.txt")
    try Data([0x63, 0x61, 0x66, 0xE9, 0x0A]).write(to: URL(fileURLWithPath: path))
    try refuse(prompts: path, status: 65, saying: ["\(path), line 1", "not UTF-8", "iconv"])
  }

  @Test func pairsOfUnequalLengthAreWarnedOf() throws {
    let path = try folder.write("uneven.txt", "abc\tab\tA\tB\n")
    let answer = try Program.capture.succeed(
      "--model", shared.model, "--prompts", path, "--out", folder.path("uneven"))
    #expect(
      answer.errors.contains("warning: \(path): pairs of unequal length: 1 (line 1: clean 4, "))
    try refuse(
      prompts: path, "--skip-unaligned", "--quiet", status: 65,
      saying: [path, "in every pair"])
  }

  @Test(arguments: [
    ("resid_prr", "nearest: resid_pre"), ("blocks.9.hook_resid_pre", "blocks.0.hook_resid_pre"),
    ("z7", "layer 7 of a model with 3 layers"), ("", "empty entry"), (",", "empty entry"),
    ("z,,q", "empty entry"), ("blocks.*.nothing", "nearest"),
  ])
  func hooksThatAreNotThere(pattern: String, words: String) throws {
    try refuse(prompts: shared.prompts, "--hooks", pattern, status: 64, saying: [words])
  }

  @Test func anOutputDirectoryThatIsInUse() throws {
    let before = try names(in: shared.path)
    try Program.capture.refuse(
      "--model", shared.model, "--prompts", shared.prompts, "--out", shared.path, status: 73,
      saying: ["\(shared.path) is not empty", "does not exist yet"])
    #expect(try names(in: shared.path) == before)
  }

  @Test func anOutputDirectoryThatCannotBeMade() throws {
    try Program.capture.refuse(
      "--model", shared.model, "--prompts", shared.prompts, "--out", folder.path("a/b/c"),
      status: 73, saying: ["there is no directory \(folder.path("a/b"))"])
    let file = try folder.write("file", "")
    try Program.capture.refuse(
      "--model", shared.model, "--prompts", shared.prompts, "--out", file,
      status: 73, saying: ["\(file) is not a directory"])
    try Program.capture.refuse(
      "--model", shared.model, "--prompts", shared.prompts, "--out", file + "/cache",
      status: 73, saying: ["\(file) is not a directory"])
    // Not even root may write here.
    try Program.capture.refuse(
      "--model", shared.model, "--prompts", shared.prompts, "--out", "/proc/cache",
      status: 73, saying: ["cannot create /proc/cache"])
  }

  /// A limit on the size of files refuses writes as a full disk does.
  @Test func aFullDisk() throws {
    let out = folder.path("cache")
    try Program.capture.refuse(
      "--model", shared.model, "--prompts", shared.prompts, "--out", out, "--quiet", status: 74,
      saying: ["cannot write \(out)/segment-000000.pbs", "File too large", "0 prompts are safe"],
      blocks: 64)
    // What is there is a cache of no prompts, and the programs say so.
    let summary = try Program.cachedump.succeed(out)
    #expect(summary.output.contains("interrupted"))
    #expect(summary.output.contains("0 of 7 are there"))
    try Program.analyze.refuse(
      "patch", "--cache", out, "--hooks", "z", status: 65,
      saying: ["interrupted before it came to 4 of them"])
    try Program.capture.refuse(
      "--model", shared.model, "--prompts", shared.prompts, "--out", folder.path("tiny"), "--quiet",
      status: 74, saying: [folder.path("tiny"), "File too large"], blocks: 1)
  }
}
