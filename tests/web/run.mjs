// One file in onnxruntime-web under Node: `node run.mjs FOLDER MODEL GIVEN.json FOUND.json`, where
// FOLDER/node_modules has the package. Arrays are {type, dims, data}, data in base64.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, model, given, found] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { default: ort } = await import(pathToFileURL(require.resolve("onnxruntime-web")));
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

const TYPES = {
  float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array, uint8: Uint8Array, bool: Uint8Array,
};
const tensor = ({ type, dims, data }) => {
  const bytes = Uint8Array.from(Buffer.from(data, "base64"));
  return new ort.Tensor(type, new TYPES[type](bytes.buffer), dims);
};
const written = ({ type, dims, data }) => ({
  type, dims, data: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64"),
});
const mapped = (of, values) => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, of(value)]));

try {
  const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(model)), { executionProviders: ["wasm"] });
  const answers = await session.run(mapped(tensor, JSON.parse(readFileSync(given, "utf8"))));
  writeFileSync(found, JSON.stringify(mapped(written, answers)));
} catch (error) {
  console.error(String(error?.message ?? error).split("\n").at(0));
  process.exit(1);
}
