import { build } from '../../scripts/run.mjs';

/**
 * Global set-up of packages whose tests start processes that run `dist`: builds what changed, once per run.
 * `pnpm test` has already built.
 */
export default function buildPackages(): void {
  if (process.env.TOPK_BUILT) return;
  process.env.TOPK_BUILT = '1';
  if (!build()) console.error('The build failed: tests of built packages run what was built before.');
}
