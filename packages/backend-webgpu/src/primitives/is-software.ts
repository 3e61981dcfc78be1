import { deviceFacts } from '../runtime/facts.js';

const known = new WeakMap<GPUDevice, boolean>();

/** True where shaders run on a CPU: barriers and large shaders cost there, and the plain versions are the fastest. */
export function isSoftware(device: GPUDevice): boolean {
  let answer = known.get(device);
  if (answer === undefined) {
    answer = deviceFacts(device).isSoftware;
    known.set(device, answer);
  }
  return answer;
}
