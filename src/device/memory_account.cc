#include "device/memory_account.h"

#include <c10/core/CPUAllocator.h>
#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "base/huge_pages.h"
#include "base/text.h"

namespace hopyard {

namespace {

thread_local MemoryAccount* current_account = nullptr;

/// The largest threshold of M_MMAP_THRESHOLD that glibc takes.
constexpr Bytes kLarge = 32 * MiB;
constexpr Bytes kPage = 4 * KiB;

/// Stands in the 64 bytes before a tensor's data, so that whoever frees it credits the account that was charged.
struct Header {
  MemoryAccount* account;
  Bytes charged;
  Bytes block;  ///< of a large one that is charged, which is not from the heap; else 0
};
static_assert(sizeof(Header) <= kTensorAlignment);

std::byte* large_block(MemoryAccount& account, Bytes bytes) {
  account.large_begins(bytes);
  if (std::byte* const data = account.kept().take(bytes)) return data;
  account.trim_kept();
  try {
    return map_memory(bytes);
  } catch (const std::bad_alloc&) {
    account.kept().trim(0);
  }
  try {
    return map_memory(bytes);
  } catch (const std::bad_alloc&) {
    account.large_ends(bytes);
    throw;
  }
}

/// Sets header.block. Null or std::bad_alloc when there is none.
std::byte* make_block(Header& header) {
  const Bytes bytes = header.charged + kTensorAlignment;
  if (header.account != nullptr && bytes >= kLarge) {
    header.block = align_up(bytes, kPage);
    return large_block(*header.account, header.block);
  }
  if (header.account != nullptr) header.account->trim_kept();
  return static_cast<std::byte*>(std::aligned_alloc(kTensorAlignment, bytes));
}

void free_block(void* data) {
  if (data == nullptr) return;
  auto* raw = static_cast<std::byte*>(data) - kTensorAlignment;
  Header header;
  std::memcpy(&header, raw, sizeof header);
  if (header.account != nullptr) header.account->credit(header.charged);
  if (header.block == 0) return std::free(raw);
  header.account->kept().keep(raw, header.block);
  header.account->large_ends(header.block);
  header.account->trim_kept();
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &free_block, c10::Device(c10::DeviceType::CPU)};
    Header header{current_account, charged_bytes(bytes), 0};
    if (header.account != nullptr && !header.account->charge(header.charged))
      throw DeviceOutOfMemory(header.account->name(), header.charged, header.account->limit() - header.account->used());
    std::byte* raw = nullptr;
    try {
      raw = make_block(header);
      if (raw == nullptr) throw std::bad_alloc();
    } catch (const std::bad_alloc&) {
      if (header.account != nullptr) header.account->credit(header.charged);
      throw;
    }
    std::memcpy(raw, &header, sizeof header);
    void* data = raw + kTensorAlignment;
    return {data, data, &free_block, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }
};

}  // namespace

DeviceOutOfMemory::DeviceOutOfMemory(const std::string& account, Bytes needed, Bytes available)
    : std::runtime_error(text::cat(account, ": ", needed, " bytes needed, ", available, " there")),
      needed(needed),
      available(available) {}

bool MemoryAccount::charge(Bytes bytes) {
  Bytes used = used_.load(std::memory_order_relaxed);
  do {
    if (bytes > limit_ || used > limit_ - bytes) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  Bytes peak = peak_.load(std::memory_order_relaxed);
  while (used + bytes > peak && !peak_.compare_exchange_weak(peak, used + bytes, std::memory_order_relaxed)) {
  }
  return true;
}

void install_counting_allocator() {
  static CountingAllocator allocator;
  static const bool installed = [] {
    // From one heap that is never trimmed: else what is needed again is mapped anew, and every page of it faults.
    // Arenas of other threads than the main one are trimmed all the same. What is larger and charged is kept by its
    // account.
    mallopt(M_MMAP_THRESHOLD, kLarge);
    mallopt(M_TRIM_THRESHOLD, 2047 << 20);
    mallopt(M_TOP_PAD, 64 << 20);
    mallopt(M_ARENA_MAX, 1);
    c10::SetCPUAllocator(&allocator, /*priority=*/100);
    return true;
  }();
  (void)installed;
}

AccountScope::AccountScope(MemoryAccount* account) : previous_(current_account) { current_account = account; }
AccountScope::~AccountScope() { current_account = previous_; }

}  // namespace hopyard
