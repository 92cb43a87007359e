#include "fakes/kept_operations.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/library.h>

#include <cstring>
#include <set>
#include <string_view>

#include "base/failure.h"

namespace hopyard::fakes {

namespace {

/// Of libtorch's, below autograd; nothing else of this program uses it.
constexpr auto kKey = c10::DispatchKey::Fake;

thread_local KeptOperations::State* keeping = nullptr;

template <class Visit>
void for_each_tensor(const c10::IValue& value, const Visit& visit) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) visit(value.toTensor());
  } else if (value.isTensorList() || value.isList()) {
    for (const c10::IValue& one : value.toListRef()) for_each_tensor(one, visit);
  }
}

std::vector<at::Tensor> tensors_of(const std::vector<c10::IValue>& values) {
  std::vector<at::Tensor> tensors;
  for (const auto& value : values) for_each_tensor(value, [&](const at::Tensor& tensor) { tensors.push_back(tensor); });
  return tensors;
}

}  // namespace

struct KeptOperations::State {
  struct Saved {
    c10::Storage storage;
    std::vector<std::byte> bytes;
  };

  /// Before it is written to for the first time, unless it is of the record's own memory.
  void save(const at::Tensor& tensor) {
    const c10::Storage& storage = tensor.storage();
    if (made_here.contains(storage.unsafeGetStorageImpl()) || !seen.insert(storage.unsafeGetStorageImpl()).second)
      return;
    const auto* const begin = static_cast<const std::byte*>(storage.data());
    saved.push_back({storage, {begin, begin + storage.nbytes()}});
  }
  void note_made(const at::Tensor& tensor, const std::vector<at::Tensor>& inputs) {
    const c10::Storage& storage = tensor.storage();
    for (const auto& input : inputs)
      if (input.storage().unsafeGetStorageImpl() == storage.unsafeGetStorageImpl()) return;
    if (seen.contains(storage.unsafeGetStorageImpl())) return;
    if (made_here.insert(storage.unsafeGetStorageImpl()).second) made.push_back(storage);
  }
  void poison_made() {
    for (const auto& storage : made)
      if (storage.nbytes() > 0) std::memset(storage.mutable_data(), 0xff, storage.nbytes());
  }
  void keep(const c10::OperatorHandle& operation, torch::jit::Stack& stack) {
    const auto& schema = operation.schema();
    TORCH_CHECK(schema.name() != "aten::_local_scalar_dense", "operation not permitted when stream is capturing");
    const auto last = [&](std::size_t count) {
      return std::vector<c10::IValue>(stack.end() - static_cast<std::ptrdiff_t>(count), stack.end());
    };
    const auto given = last(schema.arguments().size());
    for (std::size_t i = 0; i < given.size(); ++i)
      if (const auto* alias = schema.arguments()[i].alias_info(); alias != nullptr && alias->isWrite())
        for_each_tensor(given[i], [&](const at::Tensor& tensor) { save(tensor); });
    operation.callBoxed(stack);
    const auto results = tensors_of(last(schema.returns().size()));
    const auto inputs = tensors_of(given);
    for (const auto& result : results) note_made(result, inputs);
    const std::size_t returned = schema.returns().size();
    work.emplace_back([operation, given, results, returned] {
      torch::jit::Stack again(given.begin(), given.end());
      operation.callBoxed(again);
      const auto now = tensors_of({again.end() - static_cast<std::ptrdiff_t>(returned), again.end()});
      require(now.size() == results.size(), operation.schema().name(), " gave another number of tensors");
      for (std::size_t i = 0; i < now.size(); ++i)
        if (now[i].storage().unsafeGetStorageImpl() != results[i].storage().unsafeGetStorageImpl())
          at::Tensor(results[i]).copy_(now[i]);
    });
  }

  std::vector<std::function<void()>> work;
  std::vector<Saved> saved;
  std::vector<c10::Storage> made;
  std::set<const c10::StorageImpl*> seen, made_here;
};

namespace {

void keep_operation(const c10::OperatorHandle& operation, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const c10::impl::ExcludeDispatchKeyGuard only_this(kKey);
  keeping->keep(operation, *stack);
}

TORCH_LIBRARY_IMPL(_, Fake, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&keep_operation>()); }

}  // namespace

KeptOperations::KeptOperations() : state_(std::make_unique<State>()) {}
KeptOperations::~KeptOperations() = default;

void KeptOperations::begin() {
  require(keeping == nullptr, "two graphs at a time");
  keeping = state_.get();
  c10::impl::tls_set_dispatch_key_included(kKey, true);
}

void KeptOperations::end() {
  require(keeping == state_.get(), "the graph of another thread");
  c10::impl::tls_set_dispatch_key_included(kKey, false);
  keeping = nullptr;
  for (auto saved = state_->saved.rbegin(); saved != state_->saved.rend(); ++saved)
    if (!saved->bytes.empty()) std::memcpy(saved->storage.mutable_data(), saved->bytes.data(), saved->bytes.size());
  state_->saved.clear();
  state_->poison_made();
}

void KeptOperations::again() {
  const at::NoGradGuard no_graph;
  const at::AutoDispatchBelowADInplaceOrView below;
  state_->poison_made();
  for (const auto& work : state_->work) work();
}

void KeptOperations::kernel(const at::Tensor& written, std::function<void()> work) {
  const c10::impl::ExcludeDispatchKeyGuard as_one(kKey);
  if (keeping != nullptr) keeping->save(written);
  work();
  if (keeping != nullptr) keeping->work.push_back(std::move(work));
}

}  // namespace hopyard::fakes
