// Bracketed classes: [a-z], [^\d_], [[:alpha:]&&[^aeiou]], [\p{L}--\p{Greek}].
#include "class.h"

#include <algorithm>

namespace fastmask::regex {
namespace {

enum class SetOperation { kNone, kIntersection, kDifference, kSymmetricDifference };

constexpr int64_t kStepsPerItem = 100;  // a set of a few hundred ranges may be behind it
constexpr size_t kManyItems = 1 << 16;  // `[\w\w\w…]` must not hold every copy

// One open bracket. Set operations apply from left to right; a run of items is one operand.
struct OpenClass {
  size_t offset = 0;
  bool negated = false;
  SetOperation pending = SetOperation::kNone;  // between `left` and the items read since
  CharSet left;
  int left_height = 0;
  std::vector<Range> items;
  int num_items = 0;
  int highest_item = 0;

  void add(const CharSet& set, int height) {
    if (items.size() > kManyItems) items = CharSet(std::move(items)).ranges();
    items.insert(items.end(), set.ranges().begin(), set.ranges().end());
    ++num_items;
    highest_item = std::max(highest_item, height);
  }
};

// One end of a possible range, or an item of its own.
struct Item {
  size_t offset;
  Escape what;
};

class ClassParser {
 public:
  explicit ClassParser(Cursor& cursor) : cursor_(cursor) {}

  BracketedClass parse();

 private:
  OpenClass& innermost() { return open_.back(); }
  void open_bracket();
  BracketedClass close_bracket();
  bool take_ascii_class();
  bool take_operation();
  void end_operand(SetOperation next);
  void parse_item_or_range();
  Item parse_item();
  CharSet set_of(const Item& item) const;
  uint32_t character_of(const Item& item) const;
  CharSet negated(const CharSet& set, size_t offset) const;
  [[noreturn]] void fail_unclosed() const;

  Cursor& cursor_;
  std::vector<OpenClass> open_;
};

BracketedClass ClassParser::parse() {
  open_bracket();
  for (;;) {
    cursor_.skip_what_does_not_count();
    if (cursor_.at_end()) fail_unclosed();
    if (cursor_.now() == '[') {
      if (!take_ascii_class()) open_bracket();
    } else if (cursor_.now() == ']') {
      const BracketedClass closed = close_bracket();
      if (open_.empty()) return closed;
      innermost().add(closed.set, closed.height);
    } else if (!take_operation()) {
      parse_item_or_range();
    }
  }
}

void ClassParser::open_bracket() {
  if (open_.size() == kDeepest) {
    cursor_.fail(cursor_.offset(), "at most 250 classes within each other", "nest them less deeply");
  }
  open_.emplace_back();
  innermost().offset = cursor_.offset();
  cursor_.bump_and_skip();
  if (cursor_.now() == '^') {
    innermost().negated = true;
    cursor_.bump_and_skip();
  }
  // What could not mean anything else here is a character: leading hyphens, or one closing bracket.
  for (; cursor_.now() == '-'; cursor_.bump_and_skip()) innermost().add(CharSet::one('-'), 0);
  if (innermost().num_items == 0 && cursor_.now() == ']') {
    innermost().add(CharSet::one(']'), 0);
    cursor_.bump_and_skip();
  }
}

BracketedClass ClassParser::close_bracket() {
  end_operand(SetOperation::kNone);
  const OpenClass closed = std::move(innermost());
  open_.pop_back();
  cursor_.bump();
  CharSet set = with_flags(closed.left, cursor_.flags);
  if (closed.negated) set = negated(set, closed.offset);
  return {std::move(set), closed.left_height + 1};
}

bool ClassParser::take_operation() {
  if (cursor_.take("&&")) {
    end_operand(SetOperation::kIntersection);
  } else if (cursor_.take("--")) {
    end_operand(SetOperation::kDifference);
  } else if (cursor_.take("~~")) {
    end_operand(SetOperation::kSymmetricDifference);
  } else {
    return false;
  }
  return true;
}

// Joins the items read since the last operator with what stands left of it.
void ClassParser::end_operand(SetOperation next) {
  OpenClass& open = innermost();
  CharSet right(std::move(open.items));
  const int right_height = open.num_items > 1 ? open.highest_item + 1 : open.highest_item;
  if (open.pending != SetOperation::kNone) {
    right = with_flags(right, cursor_.flags);
    open.left = with_flags(open.left, cursor_.flags);
  }
  switch (open.pending) {
    case SetOperation::kNone: open.left = std::move(right); break;
    case SetOperation::kIntersection: open.left = open.left & right; break;
    case SetOperation::kDifference: open.left = open.left - right; break;
    case SetOperation::kSymmetricDifference: open.left = open.left ^ right; break;
  }
  const bool joined = open.pending != SetOperation::kNone;
  open.left_height = joined ? std::max(open.left_height, right_height) + 1 : right_height;
  open.pending = next;
  open.items.clear();
  open.num_items = open.highest_item = 0;
}

// [:name:] or [:^name:]; anything else that begins like it is a nested class.
bool ClassParser::take_ascii_class() {
  const size_t begin = cursor_.offset();
  if (!cursor_.take("[:")) return false;
  const bool is_negated = cursor_.take("^");
  const size_t name = cursor_.offset();
  while (!cursor_.at_end() && cursor_.now() != ':') cursor_.bump();
  const std::optional<CharSet> set = ascii_class(cursor_.text_since(name));
  if (!set || !cursor_.take(":]")) {
    cursor_.go_to(begin);
    return false;
  }
  const CharSet folded = with_flags(*set, cursor_.flags);
  innermost().add(is_negated ? negated(folded, begin) : folded, 0);
  return true;
}

void ClassParser::parse_item_or_range() {
  cursor_.budget.work(kStepsPerItem);
  const Item low = parse_item();
  cursor_.skip_what_does_not_count();
  if (cursor_.at_end()) fail_unclosed();
  const uint32_t next = cursor_.now() == '-' ? cursor_.next_that_counts() : ']';
  if (next == ']' || next == '-') return innermost().add(set_of(low), 0);
  if (!cursor_.bump_and_skip()) fail_unclosed();
  const Item high = parse_item();
  const Range range{character_of(low), character_of(high)};
  if (range.low > range.high) {
    cursor_.fail(low.offset, "a range that does not run backwards", "swap its ends");
  }
  innermost().add(CharSet({range}), 0);
}

Item ClassParser::parse_item() {
  const size_t offset = cursor_.offset();
  if (cursor_.now() == '\\') return {offset, parse_escape(cursor_)};
  const uint32_t character = cursor_.now();
  cursor_.bump();
  return {offset, {Escape::Kind::kCharacter, character, false, {}, {}}};
}

CharSet ClassParser::set_of(const Item& item) const {
  if (item.what.kind == Escape::Kind::kLook) {
    cursor_.fail(item.offset, "a character or a set of characters", "an assertion cannot stand in a class");
  }
  return item.what.kind == Escape::Kind::kSet ? item.what.set : CharSet::one(character_of(item));
}

uint32_t ClassParser::character_of(const Item& item) const {
  if (item.what.kind != Escape::Kind::kCharacter) {
    cursor_.fail(item.offset, "a single character at either end of a range", "write \\- for a hyphen in a class");
  }
  if (!cursor_.flags.unicode && item.what.character >= 0x80) {
    cursor_.fail(item.offset, "an ASCII character while the flag u is off", "leave u on for this class");
  }
  return item.what.character;
}

CharSet ClassParser::negated(const CharSet& set, size_t offset) const {
  if (!cursor_.flags.unicode) {
    cursor_.fail(offset, "a class of ASCII characters while the flag u is off",
                 "a negated one would match single bytes of longer characters; leave u on for it");
  }
  return set.complement();
}

void ClassParser::fail_unclosed() const {
  cursor_.fail(open_.back().offset, "a class that is closed with `]`", "close it, or write \\[ for a bracket");
}

}  // namespace

BracketedClass parse_class(Cursor& cursor) { return ClassParser(cursor).parse(); }

}  // namespace fastmask::regex
