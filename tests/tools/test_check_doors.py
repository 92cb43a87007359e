"""The one-door rules: what tools/check_doors lets pass and what it reports."""
import unittest

from tools_under_test import Tree, load_tool

check_doors = load_tool("check_doors")

# door: (a line that uses it, the file that may, a file that may not)
USES = {
    "the clocks": ("auto t = std::chrono::steady_clock::now();", "src/base/clock.cc", "src/base/trace.cc"),
    "sleeping": ("std::this_thread::sleep_for(delay);", "src/base/clock.cc", "src/device/link.cc"),
    "unkeyed randomness": ("std::random_device entropy;", "src/base/rng.cc", "src/select/random.cc"),
    "making files durable": ("if (::fsync(descriptor) != 0) {", "src/base/files.cc", "src/spill/disk.cc"),
    "the environment": ('auto home = std::getenv("HOME");', "src/base/environment.cc", "src/cli/main.cc"),
    "glog": ("#include <glog/logging.h>", "src/base/log.cc", "src/base/log.h"),
    "gflags": ("#include <gflags/gflags.h>", "src/cli/main.cc", "src/runtime/run.cc"),
    "nlohmann::json": ("#include <nlohmann/json.hpp>", "src/formats/json.h", "src/report/html.cc"),
    "yaml-cpp": ("#include <yaml-cpp/yaml.h>", "src/formats/yaml.cc", "src/runtime/config.cc"),
    "xxHash": ("#include <xxhash.h>", "src/formats/digest.cc", "src/spill/disk.cc"),
    "OpenSSL": ("#include <openssl/hmac.h>", "src/formats/keyed_hash.cc", "src/transport/frame.cc"),
    "RocksDB": ("#include <rocksdb/db.h>", "src/spill/disk.cc", "src/runtime/run.cc"),
    "SQLite": ("#include <sqlite3.h>", "src/runtime/journal.cc", "src/spill/disk.cc"),
    "HTTP": ("#include <httplib.h>", "src/report/server.cc", "src/cli/main.cc"),
    "c10d and Gloo": ("#include <torch/csrc/distributed/c10d/TCPStore.hpp>", "src/transport/store.cc",
                      "src/hopper/worker.cc"),
    "CUDA": ("#include <cuda_runtime_api.h>", "src/cuda/device.cc", "src/device/devices.cc"),
    "copies between host and GPU": ("cudaMemcpyAsync(to, from, bytes);", "src/cuda/real_calls.cc", "src/cuda/slab.cc"),
    "pinned memory": ("cudaHostRegister(begin, bytes, 0);", "src/cuda/real_calls.cc", "src/cuda/pinned_slab.cc"),
    "unpickling": ("torch::load(module, path);", None, "src/model/import.cc"),
}


def faults(name, text):
    return list(check_doors.faults_of(name, text))


class CheckDoors(unittest.TestCase):
    def test_every_door_has_a_use_here(self):
        self.assertEqual([door.name for door in check_doors.DOORS], list(USES))

    def test_each_use_passes_in_its_place_only(self):
        for door, (line, allowed, elsewhere) in USES.items():
            found = faults(elsewhere, "\n" + line + "\n")
            self.assertEqual([2], [number for number, _ in found], door)
            self.assertIn(f"({door})", found[0][1])
            if allowed:
                self.assertEqual([], faults(allowed, line), door)

    def test_comments_and_strings_do_not_count(self):
        for text in ("// std::getenv(x)", "/* fsync(f)\n fsync(g) */", 'say("rand() is not used");', 'x = R"(sleep(1))";',
                     '// #include <glog/logging.h>', "/*\n#include <glog/logging.h>\n*/", 'a = "\\"getenv(";'):
            self.assertEqual([], faults("src/model/a.cc", text), text)

    def test_code_beside_comments_and_strings_counts(self):
        for text in ("/* why */ fsync(f);", 'open("a", getenv("B"));', "int n = 1'000; fsync(f); char c = 'x';", "'\"'; rand();",
                     "return ::getenv(n);", "a ? fsync(f) : fsync(g);", "if (x) std::srand(1);", "x = 1 + rand();",
                     "y > rand();", "auto t = std::time(nullptr);"):
            self.assertEqual(1, len(faults("src/model/a.cc", text)), text)

    def test_members_named_alike_do_not_count(self):
        for text in ("clock.sleep(1_s);", "file->fsync();", "tensor.random(5);", "total_time(1);", "at::rand_like(x);",
                     "void sleep(Duration delay);", "double time() const;", "Clock::sleep(delay);", "auto t = clock();"):
            self.assertEqual([], faults("src/model/a.cc", text), text)

    def test_our_own_cuda_folder_is_not_cuda(self):
        self.assertEqual([], faults("src/runtime/devices.cc", '#include "cuda/device.h"'))

    def test_a_tree_is_read_with_line_numbers(self):
        with Tree({"src/base/a.cc": "int x;\n\nauto v = std::getenv(n);\n", "src/base/notes.txt": "getenv(n)"}) as root:
            found = check_doors.check(root)
        self.assertEqual(1, len(found))
        self.assertIn("src/base/a.cc:3: std::getenv (the environment) belongs in src/base/environment.cc", found[0])


if __name__ == "__main__":
    unittest.main()
