// One pass from left to right with a stack of open groups. Items wait on a second stack until their branch ends,
// branches on a third until their group closes.
#include "parser.h"

#include <algorithm>
#include <set>
#include <string>

#include "class.h"
#include "cursor.h"
#include "group_memory.h"

namespace fastmask::regex {
namespace {

// A finished part of the pattern and how deep groups, repetitions and lists nest in it.
struct Part {
  NodeId node;
  int height;
  bool repeatable = true;  // everything is but a change of flags
};

struct OpenGroup {
  size_t offset;        // of its parenthesis
  Flags flags_outside;  // to be restored behind it
  size_t first_item;    // of its current branch
  size_t first_branch;
  size_t names_before;
};

struct KnownGroup {
  Flags flags_outside;
  Part part;
};

class Parser {
 public:
  Parser(std::string_view pattern, Syntax& syntax, Budget& budget)
      : cursor_(pattern, budget), syntax_(syntax), budget_(budget) {}
  ~Parser() { budget_.release(static_cast<int64_t>((items_.capacity() + branches_.capacity()) * sizeof(Part))); }

  NodeId parse();

 private:
  void parse_part();
  void push(NodeId node, int height = 0) { push(items_, {node, height}); }
  void push(std::vector<Part>& parts, const Part& part);
  void push_literal(const Escape& literal, size_t offset);
  void push_dot();
  void push_escape();

  bool reuse_group();
  void open_group();
  void parse_flags_or_group(size_t offset);
  void parse_group_name();
  Flags parse_flags();
  void enter_group(size_t offset, const Flags& flags);
  void end_branch();
  void close_group();
  NodeId close_pattern();
  Part close_branches();
  Part list_of(std::vector<Part>& parts, size_t first, NodeId (Syntax::*join)(const std::vector<NodeId>&));

  void parse_repetition();
  void parse_counted_repetition();
  uint32_t parse_count();
  Part take_repeatable(size_t offset);
  void push_repetition(const Part& body, uint32_t min, uint32_t max, bool lazy);
  void check_height(int height) const;

  Cursor cursor_;
  Syntax& syntax_;
  Budget& budget_;
  std::vector<OpenGroup> groups_;  // the first stands for the pattern itself
  std::vector<Part> items_;
  std::vector<Part> branches_;
  std::set<std::string> group_names_;
  GroupMemory<KnownGroup> known_groups_;
};

NodeId Parser::parse() {
  groups_.push_back({0, cursor_.flags, 0, 0, 0});
  for (;;) {
    cursor_.skip_what_does_not_count();
    if (cursor_.at_end()) return close_pattern();
    budget_.work(1);
    parse_part();
  }
}

void Parser::parse_part() {
  const size_t offset = cursor_.offset();
  const uint32_t c = cursor_.now();
  switch (c) {
    case '(': return reuse_group() ? void() : open_group();
    case ')': return close_group();
    case '?': case '*': case '+': return parse_repetition();
    case '{': return parse_counted_repetition();
    case '\\': return push_escape();
    case '[': {
      const BracketedClass parsed = parse_class(cursor_);
      check_height(parsed.height);
      return push(syntax_.chars(parsed.set), parsed.height);
    }
    default: break;
  }
  cursor_.bump();
  switch (c) {
    case '|': return end_branch();
    case '.': return push_dot();
    case '^': return push(syntax_.look(line_start(cursor_.flags)));
    case '$': return push(syntax_.look(line_end(cursor_.flags)));
    default: return push_literal({Escape::Kind::kCharacter, c, false, {}, {}}, offset);
  }
}

void Parser::push(std::vector<Part>& parts, const Part& part) {
  if (parts.size() == parts.capacity()) budget_.hold(static_cast<int64_t>((parts.size() + 1) * sizeof(Part)));
  parts.push_back(part);
}

// --- single characters and places -----------------------------------------------------------------------------

void Parser::push_escape() {
  const size_t offset = cursor_.offset();
  const Escape escape = parse_escape(cursor_);
  switch (escape.kind) {
    case Escape::Kind::kCharacter: return push_literal(escape, offset);
    case Escape::Kind::kSet: return push(syntax_.chars(escape.set));
    case Escape::Kind::kLook: return push(syntax_.look(escape.look));
  }
}

void Parser::push_literal(const Escape& literal, size_t offset) {
  if (!cursor_.flags.unicode && literal.is_byte && literal.character >= 0x80) {
    cursor_.fail(offset, "no byte beyond 7F while the flag u is off",
                 "it alone is not UTF-8; write \\x{…} for the character of that number");
  }
  push(cursor_.flags.ignore_case ? syntax_.chars(with_flags(CharSet::one(literal.character), cursor_.flags))
                                 : syntax_.literal(literal.character));
}

void Parser::push_dot() {
  if (!cursor_.flags.unicode) {
    cursor_.fail(cursor_.offset() - 1, "no `.` while the flag u is off",
                 "it would match single bytes of longer characters; leave u on for it");
  }
  CharSet excluded;
  if (!cursor_.flags.dot_all) {
    excluded = cursor_.flags.crlf ? CharSet({{'\n', '\n'}, {'\r', '\r'}}) : CharSet::one('\n');
  }
  push(syntax_.chars(excluded.complement()));
}

// --- groups and alternatives ----------------------------------------------------------------------------------

// A group with the text and the flags of one that is closed means the same, wherever it stands.
bool Parser::reuse_group() {
  const auto* const seen = known_groups_.find(
      cursor_.rest(), [&](const KnownGroup& group) { return group.flags_outside == cursor_.flags; });
  if (!seen) return false;
  budget_.work(static_cast<int64_t>(seen->text.size() / 16));
  cursor_.go_to(cursor_.offset() + seen->text.size());
  push(items_, seen->payload.part);
  return true;
}

void Parser::open_group() {
  const size_t offset = cursor_.offset();
  cursor_.bump_and_skip();
  for (const char* prefix : {"?=", "?!", "?<=", "?<!"}) {
    if (cursor_.take(prefix)) {
      cursor_.fail(offset, "no look-around", "say what may stand there instead");
    }
  }
  if (cursor_.take("?P<") || cursor_.take("?<")) {
    parse_group_name();
    enter_group(offset, cursor_.flags);
  } else if (cursor_.take("?")) {
    parse_flags_or_group(offset);
  } else {
    enter_group(offset, cursor_.flags);
  }
}

void Parser::parse_flags_or_group(size_t offset) {
  if (cursor_.now() == ')') {
    cursor_.fail(cursor_.offset(), "flags or `:`", "write (?:…) for a group, (?i) for a flag");
  }
  const Flags flags = parse_flags();
  const bool opens = cursor_.now() == ':';
  cursor_.bump();
  if (opens) return enter_group(offset, flags);
  cursor_.flags = flags;
  push(items_, {syntax_.empty(), 0, false});
}

Flags Parser::parse_flags() {
  Flags flags = cursor_.flags;
  std::string seen;
  for (bool value = true;; cursor_.bump()) {
    const uint32_t c = cursor_.now();
    const bool dangling = !seen.empty() && seen.back() == '-';
    if ((c == ':' || c == ')') && !dangling) return flags;
    bool* const flag = c == 'i'   ? &flags.ignore_case
                       : c == 'm' ? &flags.multi_line
                       : c == 's' ? &flags.dot_all
                       : c == 'U' ? &flags.swap_greed
                       : c == 'u' ? &flags.unicode
                       : c == 'R' ? &flags.crlf
                       : c == 'x' ? &flags.verbose
                                  : nullptr;
    if ((!flag && c != '-') || seen.find(static_cast<char>(c)) != std::string::npos) {
      cursor_.fail(cursor_.offset(),
                   "one of the flags i, m, s, U, u, R, x, each once, or one `-` before those to unset",
                   "write (?:…) for a group without flags");
    }
    if (flag) *flag = value; else value = false;
    seen += static_cast<char>(c);
  }
}

void Parser::parse_group_name() {
  static const CharSet letters = *unicode_property({}, "Alphabetic") | CharSet::one('_');
  static const CharSet others = letters | *unicode_property({}, "N") | CharSet({{'.', '.'}, {'[', '['}, {']', ']'}});
  const size_t begin = cursor_.offset();
  while (!cursor_.at_end() && (cursor_.offset() == begin ? letters : others).contains(cursor_.now())) cursor_.bump();
  if (cursor_.offset() == begin || cursor_.now() != '>') {
    cursor_.fail(cursor_.offset(), "a group's name, a letter and then letters, digits or `_`, closed with `>`",
                 "write (?<name>…), or (…) for a group without a name");
  }
  if (!group_names_.emplace(cursor_.text_since(begin)).second) {
    cursor_.fail(begin, "a name that no other group has", "rename one of the two, or drop the name");
  }
  cursor_.bump();
}

void Parser::enter_group(size_t offset, const Flags& flags) {
  check_height(static_cast<int>(groups_.size()));
  groups_.push_back({offset, cursor_.flags, items_.size(), branches_.size(), group_names_.size()});
  cursor_.flags = flags;
}

void Parser::end_branch() { push(branches_, list_of(items_, groups_.back().first_item, &Syntax::concat)); }

void Parser::close_group() {
  if (groups_.size() == 1) {
    cursor_.fail(cursor_.offset(), "no `)` without a `(` before it", "write \\) for a parenthesis");
  }
  const Part inside = close_branches();
  const OpenGroup group = groups_.back();
  groups_.pop_back();
  cursor_.flags = group.flags_outside;
  cursor_.bump();
  check_height(inside.height + 1);
  push(inside.node, inside.height + 1);
  // A group with a name in it may come only once: its copy must be found out, not reused.
  if (group_names_.size() > group.names_before) return;
  known_groups_.remember(cursor_.text_since(group.offset), {group.flags_outside, items_.back()});
}

NodeId Parser::close_pattern() {
  if (groups_.size() > 1) {
    cursor_.fail(groups_.back().offset, "a group that is closed with `)`",
                 "close it, or write \\( for a parenthesis");
  }
  return close_branches().node;
}

Part Parser::close_branches() {
  end_branch();
  return list_of(branches_, groups_.back().first_branch, &Syntax::alternate);
}

// Replaces the parts from `first` on by one; nothing at all is the empty text.
Part Parser::list_of(std::vector<Part>& parts, size_t first, NodeId (Syntax::*join)(const std::vector<NodeId>&)) {
  const size_t count = parts.size() - first;
  if (count == 0) return {syntax_.empty(), 0};
  std::vector<NodeId> nodes;
  nodes.reserve(count);
  int height = 0;
  for (size_t i = first; i < parts.size(); ++i) {
    nodes.push_back(parts[i].node);
    height = std::max(height, parts[i].height);
  }
  parts.resize(first, Part{syntax_.empty(), 0});
  if (count == 1) return {nodes[0], height};
  check_height(height + 1);
  return {(syntax_.*join)(nodes), height + 1};
}

// --- repetitions ----------------------------------------------------------------------------------------------

void Parser::parse_repetition() {
  const uint32_t c = cursor_.now();
  const Part body = take_repeatable(cursor_.offset());
  cursor_.bump();
  push_repetition(body, c == '+' ? 1 : 0, c == '?' ? 1 : kUnbounded, cursor_.take("?"));
}

void Parser::parse_counted_repetition() {
  const size_t offset = cursor_.offset();
  const Part body = take_repeatable(offset);
  cursor_.bump_and_skip();
  const uint32_t min = parse_count();
  uint32_t max = min;
  if (cursor_.now() == ',') {
    cursor_.bump_and_skip();
    max = cursor_.now() == '}' ? kUnbounded : parse_count();
  }
  if (cursor_.now() != '}') {
    cursor_.fail(cursor_.offset(), "a repetition {n}, {m,} or {m,n}", "write \\{ for a brace");
  }
  if (max < min) cursor_.fail(offset, "a maximum that is no less than the minimum", "swap the two");
  cursor_.bump_and_skip();
  push_repetition(body, min, max, cursor_.take("?"));
}

// White space around the number is allowed, verbose or not.
uint32_t Parser::parse_count() {
  while (is_white_space(cursor_.now())) cursor_.bump();
  const size_t begin = cursor_.offset();
  uint64_t count = 0;
  while (cursor_.now() >= '0' && cursor_.now() <= '9' && count <= UINT32_MAX) {
    count = 10 * count + (cursor_.now() - '0');
    cursor_.bump_and_skip();
  }
  if (cursor_.offset() == begin || count > UINT32_MAX) {
    cursor_.fail(begin, "a count of at most 4294967295 in {n}, {m,} or {m,n}", "write \\{ for a brace");
  }
  while (is_white_space(cursor_.now())) cursor_.bump_and_skip();
  return static_cast<uint32_t>(count);
}

Part Parser::take_repeatable(size_t offset) {
  if (items_.size() == groups_.back().first_item || !items_.back().repeatable) {
    cursor_.fail(offset, "something to repeat before it", "write a backslash before it to match the character itself");
  }
  const Part body = items_.back();
  items_.pop_back();
  return body;
}

void Parser::push_repetition(const Part& body, uint32_t min, uint32_t max, bool lazy) {
  check_height(body.height + 1);
  push(syntax_.repeat(body.node, min, max, lazy == cursor_.flags.swap_greed), body.height + 1);
}

void Parser::check_height(int height) const {
  if (height <= kDeepest) return;
  cursor_.fail(cursor_.offset(), "at most " + std::to_string(kDeepest) + " levels of nesting",
               "nest groups, repetitions and classes less deeply");
}

}  // namespace

NodeId parse(std::string_view pattern, Syntax& syntax, Budget& budget) {
  return Parser(pattern, syntax, budget).parse();
}

}  // namespace fastmask::regex
