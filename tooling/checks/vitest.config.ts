import { packageTests } from '../vitest/src/preset.ts';

export default packageTests('checks', { include: ['test/**/*.test.mjs'] });
