import { type ConformanceCase, conformanceCases } from '@topk-attention/conformance';

/**
 * What of the suite is not run on GPUs in software, where every op is a program to start (and, once per rank, to
 * compile), so that the suite takes about a minute.
 */
export const cutOnSoftwareGpus: readonly { readonly name: RegExp; readonly reason: string }[] = [
  {
    name: /^lifecycle: live bytes are flat over 1,000 calls: (top-k|exact|gradients of top-k) attention$/,
    reason:
      'half a minute each; bytes are counted by the backend itself, and test/webgpu.test.ts has 30 calls',
  },
];

/** Random trials of a property, of 200 elsewhere. `pnpm fuzz` asks for more. */
export const SOFTWARE_GPU_RUNS = 10;

/** The suite without what is cut. */
export async function gpuCases(options: { goldens?: URL } = {}): Promise<readonly ConformanceCase[]> {
  const cases = await conformanceCases(options);
  return cases.filter(({ name }) => !cutOnSoftwareGpus.some((cut) => cut.name.test(name)));
}
