import { type ConformanceCase, type Group, needsHalves } from '../../harness/case.js';
import { Workbench } from '../../harness/support/workbench.js';

/** A case on the backend's primitives alone; all tensors that it uploaded or received are released afterwards. */
export function primitiveCase(
  name: string,
  run: (bench: Workbench) => void | Promise<void>,
  options: { readonly group?: Group; readonly f16?: boolean } = {},
): ConformanceCase {
  const { group = 'primitives', f16 = false } = options;
  return {
    name,
    group,
    ...(f16 && { notFor: needsHalves }),
    async run(context) {
      const bench = new Workbench(context.backend, f16 ? context.tolerances.f16 : context.tolerance);
      try {
        await run(bench);
      } finally {
        bench.releaseAll();
      }
    },
  };
}
