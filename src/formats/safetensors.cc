#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/failure.h"
#include "formats/json.h"
#include "formats/printable.h"

namespace hopyard {

static_assert(std::endian::native == std::endian::little,
              "safetensors files are little-endian and are mapped as they are");

namespace {

constexpr Bytes kHeaderBytesMax = 100'000'000;  // the format's own limit
constexpr std::size_t kLengthBytes = 8;
constexpr JsonLimits kHeaderLimits{.depth = 8, .values = 20'000'000};

struct DtypeEntry {
  Dtype dtype;
  const char* name;
  Bytes bytes;
};
constexpr std::array<DtypeEntry, 10> kDtypes{{{Dtype::boolean, "BOOL", 1},
                                              {Dtype::u8, "U8", 1},
                                              {Dtype::i8, "I8", 1},
                                              {Dtype::i16, "I16", 2},
                                              {Dtype::i32, "I32", 4},
                                              {Dtype::i64, "I64", 8},
                                              {Dtype::f16, "F16", 2},
                                              {Dtype::bf16, "BF16", 2},
                                              {Dtype::f32, "F32", 4},
                                              {Dtype::f64, "F64", 8}}};

const DtypeEntry& entry_of(Dtype dtype) { return kDtypes.at(static_cast<std::size_t>(dtype)); }

Dtype known_dtype(const std::string& word, const std::string& where) {
  if (const auto dtype = parse_dtype(word)) return *dtype;
  std::vector<std::string> known;
  for (const auto& entry : kDtypes) known.push_back(entry.name);
  fail(ExitCode::input, where, ": unknown dtype ", printable(word), "; known are ", text::join(known, ", "));
}

std::vector<std::int64_t> parse_shape(const Json& tensor, const std::string& where) {
  const auto shape = tensor.find("shape");
  if (shape == tensor.end() || !shape->is_array())
    fail(ExitCode::input, where, ": 'shape' must be a list of whole numbers");
  std::vector<std::int64_t> sizes;
  for (const auto& size : *shape) {
    const bool fits = size.is_number_unsigned() && size.get<std::uint64_t>() <= 0x7fff'ffff'ffff'ffff;
    if (!fits) fail(ExitCode::input, where, ": 'shape' holds ", size.dump(), ", which is no size");
    sizes.push_back(size.get<std::int64_t>());
  }
  return sizes;
}

/// Nothing on overflow. A size of 0 does not excuse the others: whoever multiplies them in another order would
/// overflow.
std::optional<Bytes> tensor_bytes(const std::vector<std::int64_t>& shape, Dtype dtype) {
  std::optional<Bytes> bytes = dtype_bytes(dtype);
  bool empty = false;
  for (const std::int64_t size : shape) {
    if (size == 0) empty = true;
    if (size != 0 && bytes) bytes = checked_multiply(*bytes, static_cast<Bytes>(size));
  }
  return bytes && empty ? 0 : bytes;
}

TensorInfo parse_tensor(const std::string& name, const Json& json, Bytes data_begin, Bytes data_bytes,
                        const std::string& file) {
  const std::string where = text::cat(file, ": tensor ", printable(name));
  TensorInfo tensor{.name = name};
  tensor.dtype = known_dtype(json_get<std::string>(json, "dtype", where), where);
  tensor.shape = parse_shape(json, where);
  const auto bytes = tensor_bytes(tensor.shape, tensor.dtype);
  if (!bytes) fail(ExitCode::input, where, ": the product of its shape overflows");
  const auto offsets = json.find("data_offsets");
  if (offsets == json.end() || !offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
      !(*offsets)[1].is_number_unsigned())
    fail(ExitCode::input, where, ": 'data_offsets' must be two whole numbers");
  const auto begin = (*offsets)[0].get<std::uint64_t>(), end = (*offsets)[1].get<std::uint64_t>();
  if (begin > end) fail(ExitCode::input, where, ": ends at offset ", end, ", before it begins at ", begin);
  if (end > data_bytes)
    fail(ExitCode::input, where, ": ends at offset ", end, ", but the file holds only ", data_bytes,
         " bytes of data (truncated?)");
  if (end - begin != *bytes)
    fail(ExitCode::input, where, ": its shape needs ", *bytes, " bytes, its offsets give ", end - begin);
  tensor.offset = data_begin + begin;
  tensor.bytes = *bytes;
  return tensor;
}

/// The data must be covered exactly once, as the format demands, so that no bytes hide and none are shared.
void check_cover(const std::vector<TensorInfo>& tensors, Bytes data_begin, Bytes file_bytes, const std::string& path) {
  std::vector<const TensorInfo*> order;
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(),
            [](auto* a, auto* b) { return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes); });
  Bytes covered = data_begin;
  const TensorInfo* previous = nullptr;
  for (const auto* tensor : order) {
    if (tensor->offset < covered)
      fail(ExitCode::input, path, ": tensors ", printable(previous->name), " and ", printable(tensor->name),
           " overlap");
    if (tensor->offset > covered)
      fail(ExitCode::input, path, ": ", tensor->offset - covered, " bytes before tensor ", printable(tensor->name),
           " belong to no tensor");
    covered += tensor->bytes;
    previous = tensor;
  }
  if (covered != file_bytes)
    fail(ExitCode::input, path, ": ", file_bytes - covered, " bytes at the end belong to no tensor");
}

/// The header's text; its length is checked against the file.
std::string_view header_of(const MappedFile& file) {
  const auto bytes = file.bytes();
  if (bytes.size() < kLengthBytes)
    fail(ExitCode::input, file.path(), ": has only ", bytes.size(), " bytes, too few for a safetensors file");
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > bytes.size() - kLengthBytes)
    fail(ExitCode::input, file.path(), ": its header claims ", length, " bytes, but only ", bytes.size() - kLengthBytes,
         " follow (truncated, or not a safetensors file)");
  if (length > kHeaderBytesMax)
    fail(ExitCode::input, file.path(), ": its header has ", length, " bytes, more than the ", kHeaderBytesMax,
         " allowed");
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  if (!header.starts_with('{')) fail(ExitCode::input, file.path(), ": its header does not begin with '{'");
  return header;
}

std::vector<TensorInfo> parse_tensors(const MappedFile& file) {
  const std::string_view header = header_of(file);
  const Json json = parse_json(header, file.path() + " (header)", kHeaderLimits);
  const Bytes data_begin = kLengthBytes + header.size();
  std::vector<TensorInfo> tensors;
  for (const auto& [name, value] : json.items())
    if (name != "__metadata__")
      tensors.push_back(parse_tensor(name, value, data_begin, file.bytes().size() - data_begin, file.path()));
  check_cover(tensors, data_begin, file.bytes().size(), file.path());
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return tensors;
}

/// The header as the format wants it, with the 8 bytes of its length, padded with spaces so that the data are aligned.
std::string make_header(std::span<const TensorToWrite> tensors) {
  Json header = Json::object();
  Bytes offset = 0;
  for (const auto& tensor : tensors) {
    const auto bytes = tensor_bytes(tensor.shape, tensor.dtype);
    require(bytes.has_value(), "write_safetensors: shape of ", tensor.name, " overflows");
    require(!header.contains(tensor.name), "write_safetensors: two tensors are named ", tensor.name);
    header[tensor.name] = {
        {"dtype", dtype_name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + *bytes}}};
    offset += *bytes;
  }
  std::string text = header.dump();
  text.resize(align_up(kLengthBytes + text.size()) - kLengthBytes, ' ');
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), kLengthBytes) + text;
}

}  // namespace

Bytes dtype_bytes(Dtype dtype) { return entry_of(dtype).bytes; }
std::string dtype_name(Dtype dtype) { return entry_of(dtype).name; }

std::optional<Dtype> parse_dtype(std::string_view word) {
  for (const auto& entry : kDtypes)
    if (word == entry.name) return entry.dtype;
  return std::nullopt;
}

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path), tensors_(parse_tensors(file_)) {}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto at =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const TensorInfo& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return at != tensors_.end() && at->name == name ? &*at : nullptr;
}

std::span<const std::byte> SafetensorsFile::bytes(const TensorInfo& tensor) const {
  require(tensor.offset <= file_.bytes().size() && tensor.bytes <= file_.bytes().size() - tensor.offset, "tensor ",
          tensor.name, " is not of ", file_.path());
  return file_.bytes().subspan(tensor.offset, tensor.bytes);
}

void write_safetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                       const std::function<void(std::size_t index, std::span<std::byte> out)>& fill) {
  AtomicFile file(path);
  const std::string header = make_header(tensors);
  file.write(std::as_bytes(std::span(header)));
  std::vector<std::byte> buffer;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    buffer.resize(*tensor_bytes(tensors[i].shape, tensors[i].dtype));
    fill(i, buffer);
    file.write(buffer);
  }
  file.commit();
}

}  // namespace hopyard
