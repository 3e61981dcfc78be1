import { bytesSource, openSafetensors } from '@topk-attention/nn';
import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { expect } from 'vitest';
import { characterModel } from '../src/model.js';
import { withExample } from './support/example-page.js';
import { tiny } from './support/settings.js';

// On the CPU, which needs no kernels: the page and its worker. webgpu.test.ts has the GPU.
const onCpu = { ...tiny, device: 'cpu' };
const browser = browserAvailability();

optional(
  'trains; paused and reloaded, a run ends with the same bits; the file holds the model',
  browser,
  () =>
    withExample(async (page) => {
      await page.state('idle');
      await page.fill(onCpu);
      await page.page.press('[name="seed"]', 'Enter');
      await page.state('finished');
      const { log, sample } = await page.progress();
      const losses = await page.losses();
      expect(losses.length).toBe(Number(tiny.steps));
      expect(losses.at(-1)).toBeLessThan((losses[0] as number) - 0.1);
      expect(log.flatMap(({ eval_loss }) => eval_loss ?? []).length).toBe(2);
      expect(await page.textOf('status')).toBe(`Finished after ${tiny.steps} steps`);
      expect(await page.textOf('sample-step')).toBe(`step ${tiny.steps}`);
      expect(await page.textOf('sample')).toBe(sample?.text);
      expect(Array.from(sample?.text ?? '').length).toBe(120);
      const whole = await page.exported();
      expect(whole.name).toBe(`model-step-${tiny.steps}.safetensors`);

      await page.click('discard');
      await page.state('idle');
      await page.click('start');
      await page.stepsMade(2);
      await page.click('pause');
      await page.state('paused');
      const at = Number(/\d+/.exec(await page.textOf('status'))?.[0]);
      expect(at).toBeLessThan(Number(tiny.steps));
      await page.page.reload();
      await page.state('paused');
      expect(await page.textOf('step')).toBe(`${at} of ${tiny.steps}`);
      await page.click('continue');
      await page.stepsMade(at + 1);
      // Without a pause: a run goes on by itself, from its last checkpoint.
      await page.page.reload();
      await page.state('finished');
      expect(await page.losses()).toEqual(losses);
      const resumed = await page.exported();
      expect(Buffer.compare(resumed.bytes, whole.bytes)).toBe(0);

      const file = await openSafetensors(bytesSource(whole.bytes));
      const { settings = '', vocabulary = '', step } = file.metadata;
      expect(step).toBe(tiny.steps);
      const model = characterModel(JSON.parse(settings), JSON.parse(vocabulary).length);
      const declared = Object.entries(model.parameters).map(([name, { shape }]) => [name, shape]);
      expect([...file.tensors].map(([name, { shape }]) => [name, shape]).sort()).toEqual(declared.sort());
      expect((await file.readFloat32('head.weight')).every(Number.isFinite)).toBe(true);
      expect(page.errors).toEqual([]);
    }),
);

optional('without WebGPU it says so, and trains on the CPU if asked to', browser, () =>
  withExample(
    async (page) => {
      await page.state('idle');
      await page.fill({ ...tiny, steps: '1' });
      await page.click('start');
      await expect(page.state('finished')).rejects.toThrow('offers no WebGPU');
      expect(await page.textOf('failure-fix')).toContain('train on the CPU');
      await page.click('use-cpu');
      await page.page.waitForFunction(`document.body.dataset.state !== 'failed'`);
      await page.state('finished');
      expect(await page.textOf('device')).toContain('the CPU');
      expect(await page.page.isHidden('#failure')).toBe(true);
    },
    { launch: { ignoreDefaultArgs: ['--enable-unsafe-webgpu'] } },
  ),
);

optional('a text that is too short and a full disk are named, and what was saved stays', browser, () =>
  withExample(async (page) => {
    await page.state('idle');
    await page.fill({ ...onCpu, steps: '500', text: 'Too short.' });
    await page.click('start');
    await expect(page.state('finished')).rejects.toThrow('The text is too short');
    expect(await page.textOf('failure-detail')).toContain('got 10 characters');

    await page.click('default-text');
    await page.run('start');
    await page.stepsMade(5); // a checkpoint is kept
    const session = await page.page.context().newCDPSession(page.page);
    const origin = new URL(page.page.url()).origin;
    await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 1 });
    await expect(page.state('finished')).rejects.toThrow('no space left');
    expect(await page.textOf('status')).toMatch(/^Stopped; saved up to step \d+$/);
    await session.send('Storage.overrideQuotaForOrigin', { origin });
    await page.run('continue');
    await page.click('pause');
    await page.state('paused');
  }),
);
