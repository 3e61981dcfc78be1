// Makes a backend with the options given as JSON and computes something, or asks the doctor. Started by tests that look at what
// the process prints and leaves on disk.
import { mul, tensor } from '@topk-attention/core';
import { createOnnxRuntimeBackend, doctor } from '@topk-attention/onnxruntime';

const [task, options] = JSON.parse(process.argv[2]);
if (task === 'doctor') {
  await doctor(options);
} else {
  const backend = await createOnnxRuntimeBackend(
    task === 'given' ? { ...options, ort: await import('onnxruntime-node') } : options,
  );
  const doubled = await mul(tensor(backend, [1, 2]), 2).data();
  process.stdout.write(doubled.join());
}
