#include "utf8.h"

#include <algorithm>
#include <map>
#include <utility>

#include "intern.h"

namespace fastmask::regex {
namespace {

// Characters low … high, all of one group; later, values of their last bytes.
struct Span {
  uint32_t low, high;
  int32_t group;
};

// --- classes → groups -----------------------------------------------------------------------------------------

// Where a class begins or ends to hold the characters from `at` on.
struct Border {
  uint32_t at;
  uint32_t place;  // of the class in the list of classes

  bool operator<(const Border& other) const { return at < other.at; }
};

std::vector<Border> borders_of(const Syntax& syntax, const std::vector<ClassId>& classes) {
  std::vector<Border> borders;
  for (uint32_t place = 0; place < classes.size(); ++place) {
    for (const Range& range : syntax.char_set(classes[place]).ranges()) {
      borders.push_back({range.low, place});
      borders.push_back({range.high + 1, place});
    }
  }
  std::sort(borders.begin(), borders.end());
  return borders;
}

// Sweeps over the characters with the list of classes that hold the present one; every distinct list is a group.
std::vector<Span> grouped(const Syntax& syntax, const std::vector<ClassId>& classes, Dispatch& dispatch,
                          Budget& budget) {
  const std::vector<Border> borders = borders_of(syntax, classes);
  budget.work(static_cast<int64_t>(8 * borders.size()));
  std::map<std::vector<uint32_t>, int32_t> groups;
  std::vector<Span> spans;
  std::vector<uint32_t> holding;  // sorted places
  for (size_t i = 0; i < borders.size();) {
    const uint32_t at = borders[i].at;
    for (; i < borders.size() && borders[i].at == at; ++i) {
      const auto found = std::lower_bound(holding.begin(), holding.end(), borders[i].place);
      if (found != holding.end() && *found == borders[i].place) holding.erase(found);
      else holding.insert(found, borders[i].place);
    }
    if (holding.empty()) continue;
    budget.work(static_cast<int64_t>(8 + holding.size()));
    const auto [group, is_new] = groups.try_emplace(holding, dispatch.num_groups);
    dispatch.num_groups += is_new;
    spans.push_back({at, borders[i].at - 1, group->second});
  }
  dispatch.groups_of.resize(classes.size());
  for (const auto& [places, group] : groups) {
    for (const uint32_t place : places) dispatch.groups_of[place].push_back(group);
  }
  return spans;
}

// --- groups → bytes -------------------------------------------------------------------------------------------

constexpr int kContinuationBits = 6;
constexpr uint32_t kContinuationMark = 0x80;

struct Encoding {
  uint32_t low, high;  // the characters that UTF-8 spells with this many bytes
  int continuations;   // bytes after the first
  uint32_t lead_mark;
};
constexpr Encoding kEncodings[] = {
    {0x0, 0x7F, 0, 0x00}, {0x80, 0x7FF, 1, 0xC0}, {0x800, 0xFFFF, 2, 0xE0}, {0x10000, kLastCharacter, 3, 0xF0}};

class DispatchBuilder {
 public:
  DispatchBuilder(Dispatch& dispatch, Budget& budget) : dispatch_(dispatch), budget_(budget), table_(budget) {
    dispatch_.first_edge.push_back(0);
  }

  void build(const std::vector<Span>& spans);

 private:
  void append_edges(std::vector<Edge>& edges, const std::vector<Span>& spans, int continuations, uint32_t mark);
  int32_t node_for(const std::vector<Span>& spans, int continuations);
  int32_t add_node(const std::vector<Edge>& edges);
  bool same(uint32_t node, const std::vector<Edge>& edges) const;

  Dispatch& dispatch_;
  Budget& budget_;
  InternTable table_;
};

std::vector<Span> clipped(const std::vector<Span>& spans, uint32_t low, uint32_t high) {
  std::vector<Span> result;
  auto span = std::lower_bound(spans.begin(), spans.end(), low, [](const Span& s, uint32_t at) { return s.high < at; });
  for (; span != spans.end() && span->low <= high; ++span) {
    result.push_back({std::max(span->low, low), std::min(span->high, high), span->group});
  }
  return result;
}

void DispatchBuilder::build(const std::vector<Span>& spans) {
  std::vector<Edge> edges;
  for (const Encoding& encoding : kEncodings) {
    append_edges(edges, clipped(spans, encoding.low, encoding.high), encoding.continuations, encoding.lead_mark);
  }
  // Not interned: the last node must be this one.
  dispatch_.edges.insert(dispatch_.edges.end(), edges.begin(), edges.end());
  dispatch_.first_edge.push_back(static_cast<uint32_t>(dispatch_.edges.size()));
}

void append_edge(std::vector<Edge>& edges, uint32_t low, uint32_t high, int32_t target) {
  const auto first = static_cast<uint8_t>(low);
  const auto last = static_cast<uint8_t>(high);
  if (!edges.empty() && edges.back().target == target && edges.back().high + 1 == first) edges.back().high = last;
  else edges.push_back({first, last, target});
}

// Edges for the first of the bytes that spell the values in `spans`, `continuations` more to come. Each value of
// that byte stands for a block of values; a block is either wholly one group's or shared, and then has a node.
void DispatchBuilder::append_edges(std::vector<Edge>& edges, const std::vector<Span>& spans, int continuations,
                                   uint32_t mark) {
  const int shift = kContinuationBits * continuations;
  const uint32_t last_in_block = (1u << shift) - 1;
  uint32_t done = 0;  // values below this have their edges
  for (size_t i = 0; i < spans.size();) {
    const uint32_t low = std::max(spans[i].low, done);
    const uint32_t block = low >> shift;
    const uint32_t whole_until = (spans[i].high + 1) >> shift;
    if ((low & last_in_block) == 0 && whole_until > block) {
      const int32_t target =
          continuations == 0 ? spans[i].group : ~node_for({{0, last_in_block, spans[i].group}}, continuations - 1);
      append_edge(edges, mark | block, mark | (whole_until - 1), target);
      done = whole_until << shift;
    } else {
      std::vector<Span> shared = clipped(spans, block << shift, block << shift | last_in_block);
      for (Span& span : shared) {
        span.low &= last_in_block;
        span.high &= last_in_block;
      }
      append_edge(edges, mark | block, mark | block, ~node_for(shared, continuations - 1));
      done = (block + 1) << shift;
    }
    while (i < spans.size() && spans[i].high < done) ++i;
  }
}

int32_t DispatchBuilder::node_for(const std::vector<Span>& spans, int continuations) {
  std::vector<Edge> edges;
  append_edges(edges, spans, continuations, kContinuationMark);
  return add_node(edges);
}

int32_t DispatchBuilder::add_node(const std::vector<Edge>& edges) {
  uint64_t hash = edges.size();
  for (const Edge& edge : edges) hash = hash_step(hash, hash_of(edge));
  budget_.work(static_cast<int64_t>(8 + edges.size()));
  return static_cast<int32_t>(table_.intern(
      hash_end(hash), [&](uint32_t node) { return same(node, edges); },
      [&] {
        dispatch_.edges.insert(dispatch_.edges.end(), edges.begin(), edges.end());
        dispatch_.first_edge.push_back(static_cast<uint32_t>(dispatch_.edges.size()));
        return static_cast<uint32_t>(dispatch_.num_nodes() - 1);
      }));
}

bool DispatchBuilder::same(uint32_t node, const std::vector<Edge>& edges) const {
  const uint32_t first = dispatch_.first_edge[node];
  return dispatch_.first_edge[node + 1] - first == edges.size() &&
         std::equal(edges.begin(), edges.end(), &dispatch_.edges[first]);
}

}  // namespace

int64_t Dispatch::bytes() const {
  size_t bytes = edges.size() * sizeof(Edge) + first_edge.size() * sizeof(uint32_t);
  for (const auto& groups : groups_of) bytes += sizeof(groups) + groups.size() * sizeof(int32_t);
  return static_cast<int64_t>(bytes);
}

Dispatch make_dispatch(const Syntax& syntax, const std::vector<ClassId>& classes, Budget& budget) {
  Dispatch dispatch;
  const std::vector<Span> spans = grouped(syntax, classes, dispatch, budget);
  DispatchBuilder(dispatch, budget).build(spans);
  return dispatch;
}

}  // namespace fastmask::regex
