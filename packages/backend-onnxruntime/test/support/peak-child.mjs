// A model of q, k and v, run twice in a process of its own: prints by how many bytes the process grew. Linux only.
import { readFileSync, writeFileSync } from 'node:fs';

process.env.ORT_DISABLE_TELEMETRY = '1';
const { InferenceSession, Tensor } = await import('onnxruntime-node');

/** A line of this process's memory map in bytes: VmRSS is resident now, VmHWM at the most. */
function resident(line) {
  const found = new RegExp(`^${line}:\\s*(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(found[1]) * 1024;
}

const [model, dims] = JSON.parse(process.argv[2]);
const session = await InferenceSession.create(model, { logSeverityLevel: 3 });
const size = dims.reduce((product, extent) => product * extent, 1);
const random = () => Float32Array.from({ length: size }, () => Math.random() - 0.5);
const feeds = Object.fromEntries(
  session.inputNames.map((name) => [name, new Tensor('float32', random(), dims)]),
);
// What came before may have been more than the run takes: the peak is forgotten.
writeFileSync('/proc/self/clear_refs', '5');
const before = resident('VmRSS');
// For its second run the engine plans memory anew, and takes more.
for (let run = 0; run < 2; run++) await session.run(feeds);
process.stdout.write(`${resident('VmHWM') - before}`);
