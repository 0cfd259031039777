#include "mask_row.h"

#include <algorithm>
#include <cstring>

#include "bitmask.h"
#include "select_bits.h"

namespace fastmask {
namespace {

constexpr uint32_t kOnes = 0xffffffff;

// A sparse word takes twice the room of a packed one and is stored one at a time, so it must save a lot.
constexpr int64_t kSparseShare = 8;  // sparse where at most 1/8 of the words differ

template <class Element>
bool any_other(const Element* elements, int64_t count, Element forbidden) {
  return std::any_of(elements, elements + count, [=](Element element) { return element != forbidden; });
}

}  // namespace

MaskRow::MaskRow(const uint32_t* words, int64_t vocab_size) : vocab_size_(vocab_size) {
  const int64_t count = words_for(vocab_size);
  int64_t unlike_zeros = 0, unlike_ones = 0;
  for (int64_t w = 0; w < count; ++w) {
    unlike_zeros += words[w] != 0;
    unlike_ones += words[w] != kOnes;
  }
  ones_ = unlike_ones < unlike_zeros;
  if (kSparseShare * (ones_ ? unlike_ones : unlike_zeros) > count) {
    dense_.assign(words, words + count);
    return;
  }
  const uint32_t background = ones_ ? kOnes : 0;
  for (int64_t w = 0; w < count; ++w)
    if (words[w] != background) sparse_.push_back({static_cast<uint32_t>(w), words[w]});
  sparse_.shrink_to_fit();
}

bool MaskRow::operator==(const MaskRow& other) const {
  return ones_ == other.ones_ && sparse_ == other.sparse_ && dense_ == other.dense_;
}

bool MaskRow::allows(int64_t token) const {
  if (token < 0 || token >= vocab_size_) return false;
  const auto index = static_cast<uint32_t>(token / 32);
  uint32_t bits = ones_ ? kOnes : 0;
  if (!dense_.empty()) {
    bits = dense_[index];
  } else {
    const auto word = std::lower_bound(sparse_.begin(), sparse_.end(), index,
                                       [](const Word& at, uint32_t wanted) { return at.index < wanted; });
    if (word != sparse_.end() && word->index == index) bits = word->bits;
  }
  return (bits >> (token % 32) & 1) != 0;
}

void MaskRow::write_packed(uint32_t* out) const {
  const size_t bytes = words_for(vocab_size_) * sizeof(uint32_t);
  if (!dense_.empty()) {
    std::memcpy(out, dense_.data(), bytes);
    return;
  }
  std::memset(out, ones_ ? 0xff : 0, bytes);
  for (const Word& word : sparse_) out[word.index] = word.bits;
}

void MaskRow::write_bools(uint8_t* out) const {
  if (!dense_.empty()) {
    unpack_bits(dense_.data(), vocab_size_, out);
    return;
  }
  std::memset(out, ones_ ? 1 : 0, vocab_size_);
  for (const Word& word : sparse_) {
    const int64_t first = int64_t{word.index} * 32;
    unpack_bits(&word.bits, std::min<int64_t>(32, vocab_size_ - first), out + first);
  }
}

template <class Element>
bool MaskRow::select(const Element* in, int64_t width, Element forbidden, Element* out) const {
  std::fill(out + vocab_size_, out + width, forbidden);
  if (dense_.empty() && !ones_) return select_from_none(in, forbidden, out);
  if (!dense_.empty()) {
    select_bits(dense_.data(), vocab_size_, in, forbidden, out);
  } else {
    if (out != in) std::memcpy(out, in, vocab_size_ * sizeof(Element));
    for (const Word& word : sparse_) select_word(word, in, forbidden, out);
  }
  return any_other(out, vocab_size_, forbidden);  // much is allowed, so the first few tell
}

template <class Element>
void MaskRow::select_word(const Word& word, const Element* in, Element forbidden, Element* out) const {
  const int64_t first = int64_t{word.index} * 32;
  select_bits(&word.bits, std::min<int64_t>(32, vocab_size_ - first), in + first, forbidden, out + first);
}

// Runs of forbidden tokens between the few words that allow any: nothing is read of them.
template <class Element>
bool MaskRow::select_from_none(const Element* in, Element forbidden, Element* out) const {
  int64_t done = 0;
  bool any = false;
  for (const Word& word : sparse_) {
    const int64_t first = int64_t{word.index} * 32;
    std::fill(out + done, out + first, forbidden);
    select_word(word, in, forbidden, out);
    done = std::min(first + 32, vocab_size_);
    any = any || any_other(out + first, done - first, forbidden);
  }
  std::fill(out + done, out + vocab_size_, forbidden);
  return any;
}

template bool MaskRow::select(const uint16_t*, int64_t, uint16_t, uint16_t*) const;
template bool MaskRow::select(const uint32_t*, int64_t, uint32_t, uint32_t*) const;
template bool MaskRow::select(const uint64_t*, int64_t, uint64_t, uint64_t*) const;

}  // namespace fastmask
