import Testing

@testable import Hub

@Suite struct HubNameTests {
  @Test(arguments: [
    ("gpt2", "gpt2", nil), ("gpt2-small", "gpt2", nil),
    ("openai-community/gpt2", "openai-community/gpt2", nil),
    ("some_one/Tuned.GPT2-v1", "some_one/Tuned.GPT2-v1", nil),
    ("gpt2@main", "gpt2", "main"), ("gpt2@refs/pr/7", "gpt2", "refs/pr/7"),
    (
      "a/b@607a30d783dfa663caf39e06633721c8d4cfcd7e", "a/b",
      "607a30d783dfa663caf39e06633721c8d4cfcd7e"
    ),
    (
      "stanford-crfm/alias-gpt2-small-x21@checkpoint-400000", "stanford-crfm/alias-gpt2-small-x21",
      "checkpoint-400000"
    ),
  ])
  func aRepositoryAndARevision(text: String, repository: String, revision: String?) throws {
    let name = try #require(HubName(text))
    #expect(name.repository == repository)
    #expect(name.revision == revision)
  }

  @Test(arguments: [
    "", "/", "..", ".", "a/..", "../a", "a/../b", "/gpt2", "gpt2/", "a//b", "a/b/c", "./gpt2",
    "~/gpt2",
    "a--b", "a..b", "-a", "a-", "a/-b", "a.", "a.git", "a b", "a\nb", "a?b", "a%2e%2e", "gpt2\\x",
    "gptü",
    "gpt2@", "gpt2@..", "gpt2@a/../b", "gpt2@/etc", "gpt2@a//b", "gpt2@a/", "gpt2@.hidden",
    "gpt2@a/.b", "gpt2@a b", "gpt2@a\u{0}", "gpt2@x.lock", "gpt2@a@{1}", "gpt2@x\r\nHost: y",
    "gpt2@ä", "@main", String(repeating: "a", count: 97),
    "gpt2@" + String(repeating: "a", count: 201),
  ])
  func whatCannotBeOneIsRefused(text: String) {
    #expect(HubName(text) == nil)
  }

  @Test func theHubMovedTheFirstModels() throws {
    #expect(try #require(HubName("gpt2-xl")).spellings == ["gpt2-xl", "openai-community/gpt2-xl"])
    #expect(
      try #require(HubName("distilbert/distilgpt2")).spellings == [
        "distilbert/distilgpt2", "distilgpt2",
      ])
    // Any other name is that of one repository.
    #expect(try #require(HubName("mine")).spellings == ["mine"])
  }
}
