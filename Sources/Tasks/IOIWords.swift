/// What IOI prompts are made of.
public struct IOIWords: Sendable {
  /// With the gaps {A} and {B}, the two names as they come, {S}, the name that is said again, {PLACE},
  /// and {OBJECT} with its article. Each ends before the name of who receives the object.
  public var templates: [String]
  public var names, places, objects: WordList

  public init(templates: [String], names: WordList, places: WordList, objects: WordList) {
    self.templates = templates
    self.names = names
    self.places = places
    self.objects = objects
  }

  /// Fifteen templates, and words that are one token each in GPT-2's vocabulary.
  public static let standard = IOIWords(
    templates: [
      "When {A} and {B} walked into the {PLACE}, {S} handed {OBJECT} to",
      "After {A} and {B} met at the {PLACE}, {S} offered {OBJECT} to",
      "While {A} and {B} were waiting near the {PLACE}, {S} passed {OBJECT} to",
      "Yesterday {A} and {B} visited the {PLACE} together, and {S} brought {OBJECT} to",
      "Because {A} and {B} were late for the {PLACE}, {S} sent {OBJECT} to",
      "Once {A} and {B} had found the {PLACE}, {S} gave {OBJECT} to",
      "Last week {A} and {B} cleaned the {PLACE}. Later {S} lent {OBJECT} to",
      "Before {A} and {B} left the {PLACE}, {S} showed {OBJECT} to",
      "In the {PLACE}, {A} and {B} had a quiet talk, and {S} gave {OBJECT} to",
      "Our friends {A} and {B} own the {PLACE}, where {S} sold {OBJECT} to",
      "As {A} and {B} were leaving the {PLACE}, {S} threw {OBJECT} to",
      "Since {A} and {B} both work at the {PLACE}, {S} often brings {OBJECT} to",
      "The day that {A} and {B} reopened the {PLACE}, {S} gave {OBJECT} to",
      "Although {A} and {B} had argued at the {PLACE}, {S} still gave {OBJECT} to",
      "During a party at the {PLACE}, {A} danced with {B}, and then {S} handed {OBJECT} to",
    ],
    names: WordList(
      "names",
      """
      Aaron Adam Alan Albert Alex Alice Amanda Amy Andrea Andrew Angela Ann Anna Anne Anthony Arthur
      Barbara Ben Benjamin Bob Brandon Brian Bruce Carl Carol Caroline Catherine Charles Charlotte
      Chris Christine Christopher Claire Clara Craig Daniel David Dean Dennis Diana Diane Donald
      Dorothy Douglas Edward Elizabeth Ellen Emily Emma Eric Evan Eve Florence Frank Fred Gary George
      Gerald Grace Graham Greg Hannah Harold Harry Helen Henry Howard Hugh Ian Isaac Jack Jacob Jake
      James Jane Janet Jason Jean Jeff Jennifer Jeremy Jessica Jim Joan Joe John Jonathan Joseph
      Joshua Julia Julie Justin Karen Karl Kate Katherine Keith Kelly Kenneth Kevin Kim Kyle Larry
      Laura Lauren Lee Leon Leonard Lewis Linda Lisa Louis Louise Lucy Luke Margaret Maria Marie
      Martha Martin Mary Matt Matthew Max Melissa Michael Michelle Mike Nancy Nathan Neil Nicholas
      Nick Nicole Oliver Oscar Pamela Patricia Patrick Paul Peter Philip Rachel Ralph Raymond Rebecca
      Richard Robert Robin Roger Ronald Roy Ruby Russell Ruth Ryan Sally Sam Samantha Samuel Sandra
      Sara Sarah Scott Sean Simon Sophie Stephanie Stephen Steve Steven Stuart Susan Theresa Thomas
      Timothy Todd Tom Tony Tyler Victor Victoria Vincent Virginia Walter Wendy
      """),
    places: WordList(
      "places",
      """
      airport bakery bank barn beach cafe castle church cinema clinic club factory farm forest garage
      garden gym harbor hospital hotel house kitchen laboratory lake library market museum office
      palace park pub restaurant river school shop square stadium station store studio temple theater
      tower tunnel village warehouse workshop zoo
      """),
    objects: WordList(
      "objects",
      """
      apple bag ball banana basket bell blanket book bottle bowl box brush bucket button cake camera
      candle card chair clock coat coin cookie cup diamond doll drum egg fork gift guitar hammer hat
      helmet jacket jar key knife ladder lamp letter map menu mirror necklace newspaper notebook
      orange pen pencil phone photograph piano pillow plate radio ribbon ring rope sandwich scarf
      shirt spoon sword ticket towel toy trumpet umbrella violin watch
      """))
}
