// A device that writes down what is asked of its link, around any other device.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "device/device.h"

namespace hopyard::fakes {

/// Labels of transfers in the order in which they were asked for.
struct LinkActions {
  std::mutex mutex;  // guards both
  std::vector<std::string> loads, stores;
};

class RecordingDevice : public Device {
 public:
  RecordingDevice(std::unique_ptr<Device> inner, LinkActions& actions) : inner_(std::move(inner)), actions_(actions) {}
  const std::string& name() const override { return inner_->name(); }
  const DeviceSpec& spec() const override { return inner_->spec(); }
  bool has_own_memory() const override { return inner_->has_own_memory(); }
  at::Device place() const override { return inner_->place(); }
  MemoryAccount& account() override { return inner_->account(); }
  MemoryAccount* tensor_account() override { return inner_->tensor_account(); }
  at::Tensor allocate(at::IntArrayRef sizes, at::ScalarType type) override { return inner_->allocate(sizes, type); }
  at::Tensor bring(const at::Tensor& value) override { return inner_->bring(value); }
  at::Generator& generator() override { return inner_->generator(); }
  void enter_compute() override { inner_->enter_compute(); }
  void finish_compute() override { inner_->finish_compute(); }
  LinkCounters counters() const override { return inner_->counters(); }
  std::exception_ptr failure() const override { return inner_->failure(); }
  void load(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) override {
    note(actions_.loads, label);
    inner_->load(std::move(copies), std::move(label), std::move(done));
  }
  void store(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) override {
    note(actions_.stores, label);
    inner_->store(std::move(copies), std::move(label), std::move(done));
  }

 private:
  void note(std::vector<std::string>& list, const std::string& label) {
    const std::lock_guard lock(actions_.mutex);
    list.push_back(label);
  }
  std::unique_ptr<Device> inner_;
  LinkActions& actions_;
};

}  // namespace hopyard::fakes
