// Finds the bytes that an automaton never tells apart.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace fastmask::regex {

class ByteClasses {
 public:
  ByteClasses() { members_[0] = 256; }

  // From now on the bytes in `set` (each once) are told apart from those outside.
  void split(const std::vector<uint8_t>& set) {
    std::array<uint16_t, 256> inside{};  // by class
    for (const uint8_t byte : set) ++inside[class_of_[byte]];
    std::array<uint8_t, 256> split_off{};  // by class, 0: not yet; no class 0 is ever split off
    for (const uint8_t byte : set) {
      const uint8_t old = class_of_[byte];
      if (inside[old] == members_[old]) continue;
      if (split_off[old] == 0) split_off[old] = static_cast<uint8_t>(count_++);
      class_of_[byte] = split_off[old];
    }
    for (int32_t old = 0; old < 256; ++old) {
      if (split_off[old] == 0) continue;
      members_[old] = static_cast<uint16_t>(members_[old] - inside[old]);
      members_[split_off[old]] = inside[old];
    }
  }

  const std::array<uint8_t, 256>& class_of() const { return class_of_; }
  int32_t count() const { return count_; }

 private:
  std::array<uint8_t, 256> class_of_{};
  std::array<uint16_t, 256> members_{};  // by class
  int32_t count_ = 1;
};

}  // namespace fastmask::regex
