// One mask as it is kept: packed words, or, where that is much smaller, the few words that differ from a
// background of all zeros or all ones. Most rows of a JSON schema are of the second kind: either a handful of
// tokens may come (punctuation, keys) or all but a handful may (strings).
//
// Immutable; any number of threads may read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fastmask {

class MaskRow {
 public:
  // From packed words (bitmask.h) of a vocabulary. O(words).
  MaskRow(const uint32_t* words, int64_t vocab_size);

  // Is the token in 0 … vocab_size-1 and allowed? O(log of the words kept).
  bool allows(int64_t token) const;

  // Writes words_for(vocab_size) words, or vocab_size bytes of 0 or 1.
  void write_packed(uint32_t* out) const;
  void write_bools(uint8_t* out) const;

  // Writes `width` ≥ vocab_size elements: in[token] where a token is allowed, `forbidden` elsewhere and beyond the
  // vocabulary. An element is the bit pattern of a floating-point number; `out` may be `in`. Returns whether anything
  // but `forbidden` was written: false where all that is allowed was forbidden in `in` already.
  // Defined for uint16_t, uint32_t, uint64_t.
  template <class Element>
  bool select(const Element* in, int64_t width, Element forbidden, Element* out) const;

  // Equal masks are stored equally, so this is equality of masks.
  bool operator==(const MaskRow& other) const;

  size_t nbytes() const { return sizeof(*this) + dense_.size() * sizeof(uint32_t) + sparse_.size() * sizeof(Word); }

 private:
  struct Word {
    uint32_t index, bits;
    bool operator==(const Word& other) const { return index == other.index && bits == other.bits; }
  };

  template <class Element>
  void select_word(const Word& word, const Element* in, Element forbidden, Element* out) const;
  template <class Element>
  bool select_from_none(const Element* in, Element forbidden, Element* out) const;

  int64_t vocab_size_;
  bool ones_ = false;            // the background of sparse_
  std::vector<uint32_t> dense_;  // all words, or empty: then sparse_ holds
  std::vector<Word> sparse_;     // the words that differ from the background, ascending
};

}  // namespace fastmask
