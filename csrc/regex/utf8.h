// What a state does with each next character, as automaton over the bytes of that character.
//
// A state of the determiniser waits for characters of several classes at once. Which characters it cannot tell
// apart, and how UTF-8 spells each group of them, depends on those classes alone: that is a Dispatch. The
// thousands of states that wait for the same classes share one.
#pragma once

#include <cstdint>
#include <vector>

#include "budget.h"
#include "syntax.h"

namespace fastmask::regex {

// A range of bytes, both ends inclusive, and where they lead.
struct Edge {
  uint8_t low, high;
  int32_t target;  // in a Dispatch: ≥ 0 a group, < 0 the node ~target

  bool operator==(const Edge& other) const {
    return low == other.low && high == other.high && target == other.target;
  }
};

inline uint64_t hash_of(const Edge& edge) {
  return uint64_t{edge.low} << 40 | uint64_t{edge.high} << 32 | static_cast<uint32_t>(edge.target);
}

struct Dispatch {
  // Group g holds the characters that belong to the same classes. groups_of[i] lists, for the i-th of the
  // classes that the dispatch was made for, the groups whose characters it has.
  std::vector<std::vector<int32_t>> groups_of;
  int32_t num_groups = 0;

  // Nodes in an order in which each leads only to earlier ones; the last reads a character's first byte.
  // Node n's edges are edges[first_edge[n]] up to edges[first_edge[n + 1]], ascending and disjoint.
  std::vector<uint32_t> first_edge;
  std::vector<Edge> edges;

  int32_t num_nodes() const { return static_cast<int32_t>(first_edge.size()) - 1; }
  int64_t bytes() const;  // held by all of it
};

// `classes` are distinct. Cost: n log n in the ranges of all classes together, times the overlap.
Dispatch make_dispatch(const Syntax& syntax, const std::vector<ClassId>& classes, Budget& budget);

}  // namespace fastmask::regex
