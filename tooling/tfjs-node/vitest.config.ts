import { packageTests } from '../vitest/src/preset.ts';

export default packageTests('tfjs-node', { include: ['test/**/*.test.mjs'] });
