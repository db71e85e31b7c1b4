import Foundation
import TestSupport
import Testing

/// The pages that people read beside what the programs do: sessions in Markdown, manual pages, and the
/// tree that `make install` makes.
@Suite struct PageTests {
  private let folder: TemporaryDirectory

  init() throws { folder = try TemporaryDirectory() }

  private func tool(_ name: String, _ arguments: [String]) throws -> (status: Int32, output: String)
  {
    try pythonWithNumPy(
      [repositoryPath("tools/\(name)"), "--bin", try Program.folderOfAll()] + arguments)
  }

  @Test(arguments: ["README.md", "docs/cookbook.md"])
  func everySessionPrintsWhatThePageSays(page: String) throws {
    let done = try tool("sessions.py", [repositoryPath(page)])
    #expect(done.status == 0, "\(done.output)")
    #expect(done.output.contains(" 0 not as the page says"), "\(done.output)")
  }

  /// A session, and a word of what the comparison says of it; nil where it holds.
  @Test(
    arguments: [
      ("$ echo 1; echo 2\n1\n2", nil),
      ("$ echo 1; echo 2; echo 3; echo 4\n1\n…\n4", nil),
      ("$ echo 'took 0.5 s, 1,200 tokens/s (x)'\ntook 7.25 s, 9 tokens/s (x)", nil),
      ("$ echo 'a 1 b'\na … b", nil),
      ("$ cat <<'END'\n> one\n> END\none", nil),
      ("$ true\n…", nil),
      ("$ echo +0.41\n+0.42", "+0.42"),
      ("$ echo 1; echo 2\n1", "nothing more"),
      ("$ echo 1\n1\n2", "2"),
      ("$ echo 1; echo 2; echo 3\n1\n…\n2", "2"),
      ("$ echo 1; echo 5\n1\n…\n4\n…", "4"),
      ("$ echo 1", "nothing more"),
      ("$ exit 3\n…", "ended with 3"),
      ("$ false\n…", "ended with 1"),
      ("$ cachedump none\n…", "ended with 66"),
    ] as [(String, String?)])
  func aSessionThatDiffersIsNamed(session: String, word: String?) throws {
    let page = try folder.write("page.md", "# Page\n\n```\n\(session)\n```\n")
    let done = try tool("sessions.py", [page])
    #expect(done.status == (word == nil ? 0 : 1), "\(done.output)")
    #expect(word.map(done.output.contains) ?? true, "\(done.output)")
    #expect(word == nil || done.output.contains("page.md:4: $ "), "\(done.output)")
  }

  @Test func aPageIsMended() throws {
    let page = try folder.write(
      "page.md", "<!-- $ echo 7 > seven -->\n```\n$ cat seven\n6\n$ echo 1; echo 2\n…\n```\nEnd\n")
    #expect(try tool("sessions.py", [page, "--write"]).status == 0)
    #expect(
      try String(contentsOfFile: page, encoding: .utf8)
        == "<!-- $ echo 7 > seven -->\n```\n$ cat seven\n7\n$ echo 1; echo 2\n…\n```\nEnd\n")
  }

  /// Where they run there are no caches, prompts and models, so that a command ends with 66 unless it
  /// needs none; one with a mistake in its arguments ends with 64.
  @Test func everyCommandOfThePagesIsUnderstood() throws {
    let docs = try names(in: repositoryPath("docs")).filter { $0.hasSuffix(".md") }
    var commands: [(page: String, line: String)] = []
    for page in ["README.md"] + docs.map({ "docs/\($0)" }) {
      commands += try commandLines(of: repositoryPath(page)).map { (page, $0) }
    }
    #expect(commands.count > 100)
    for (page, line) in commands {
      let done = try systemCommand([
        "env", "-C", folder.path, "HF_HUB_OFFLINE=1", "HF_HUB_CACHE=none",
        "PATH=\(try Program.folderOfAll()):/usr/bin:/bin", "bash", "-c", line,
      ])
      #expect([0, 66].contains(done.status), "\(page): \(line)\n\(done.output)")
    }
  }

  /// Lines of code blocks that are commands, but for sessions, and whole commands in tables.
  private func commandLines(of page: String) throws -> [String] {
    var isFenced = false
    return try String(contentsOfFile: page, encoding: .utf8)
      .split(separator: "\n", omittingEmptySubsequences: false).flatMap { line -> [String] in
        if line.hasPrefix("```") { isFenced.toggle() }
        let found =
          isFenced
          ? [line].filter { $0.prefixMatch(of: #/(capture|analyze|cachedump) /#) != nil }
          : !line.hasPrefix("|")
            ? []
            : line.matches(of: #/`((capture|analyze|cachedump) [^`]*)`/#).map(\.1)
              .filter { $0.contains("--cache ") || $0.contains("--prompts ") }
        return found.filter { !$0.contains("…") }.map { String($0.replacing("\\|", with: "|")) }
      }
  }

  @Test func manualPagesAreUpToDate() throws {
    let done = try tool("man_pages.py", ["--check"])
    #expect(done.status == 0 && done.output.isEmpty, "\(done.output)")
  }

  @Test func aManualPageThatIsNotUpToDateIsNamed() throws {
    let pages = folder.path("man")
    try FileManager.default.copyItem(atPath: repositoryPath("docs/man"), toPath: pages)
    try folder.write("man/capture.1", "something else\n")
    try folder.write("man/forgotten.1", "")
    try FileManager.default.removeItem(atPath: "\(pages)/analyze.1")
    let checked = try tool("man_pages.py", ["--check", "--out", pages])
    #expect(checked.status == 1)
    let named = checked.output.split(separator: "\n").map { $0.split(separator: " ")[0] }
    #expect(
      named.map { $0.split(separator: "/").last } == ["analyze.1", "capture.1", "forgotten.1"])
    #expect(try tool("man_pages.py", ["--out", pages]).status == 0)
    #expect(try tool("man_pages.py", ["--check", "--out", pages]).status == 0)
    #expect(try names(in: pages) == names(in: repositoryPath("docs/man")))
  }

  @Test func theInstalledTreeIsWhole() throws {
    let root = folder.path("root")
    func make(_ goal: String) throws {
      let done = try systemCommand([
        "make", "-C", repositoryPath(""), goal, "BUILD=", "BIN=\(try Program.folderOfAll())",
        "PREFIX=/usr", "DESTDIR=\(root)",
      ])
      try #require(done.status == 0, "\(done.output)")
    }
    try make("install")
    for program in Program.allCases {
      let said = try systemCommand(["\(root)/usr/bin/\(program)", "--version"])
      #expect(said.output == (try program.succeed("--version").output))
      for file in [
        "bash-completion/completions/\(program)", "zsh/site-functions/_\(program)",
        "fish/vendor_completions.d/\(program).fish", "man/man1/\(program).1",
      ] {
        #expect(try contents("\(root)/usr/share/\(file)").count > 500, "\(file)")
      }
    }
    #expect(exists("\(root)/usr/share/patchbay/examples/demo-model/model.safetensors"))
    #expect(try brokenLinks(under: "\(root)/usr/share/patchbay") == [])
    try make("uninstall")
    #expect(try files(under: root) == [])
  }

  private func files(under directory: String) throws -> [String] {
    try FileManager.default.subpathsOfDirectory(atPath: directory).filter {
      var isDirectory: ObjCBool = false
      _ = FileManager.default.fileExists(atPath: "\(directory)/\($0)", isDirectory: &isDirectory)
      return !isDirectory.boolValue
    }
  }

  /// Links of Markdown pages to files that are not there, as `page: link`.
  private func brokenLinks(under directory: String) throws -> [String] {
    try files(under: directory).filter { $0.hasSuffix(".md") }.flatMap { page in
      let text = try String(contentsOfFile: "\(directory)/\(page)", encoding: .utf8)
      let base = URL(fileURLWithPath: "\(directory)/\(page)").deletingLastPathComponent()
      return text.matches(of: #/\]\(([^)\s#:]+)(#[^)]*)?\)/#).map { String($0.1) }
        .filter { !exists(base.appendingPathComponent($0).path) }.map { "\(page): \($0)" }
    }
  }
}
