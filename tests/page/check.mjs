// Checks of the page in a real browser: `node check.mjs NAME ADDRESS`. The caller has made the site at the address and
// looks after the browser's own packages (PAGE_MODULES). A check that fails says what it has seen.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const require = createRequire(join(process.env.PAGE_MODULES, 'package.json'));
const { chromium } = require('playwright-core');
const axe = require.resolve('axe-core/axe.min.js');

const [name, address] = process.argv.slice(2);
const WAIT = 20_000;
const SLO = '/slo/shop/checkout-availability';
const RULE = '/alertrules/shop/pods';
const VIEWS = ['/', '/?state=burning', SLO, `${SLO}?range=1d`, '/slo/shop/broken-by-a-typo', '/slo/shop/search-latency', '/alertrules', RULE, '/alertrules/shop/typo', '/runbooks', '/executions/shop/rollback-1', '/executions/shop/evidence-1', '/nothing/here'];
const DESK = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

/** A browser of its own, with nothing of the machine's user. */
async function browsed(check, options) {
  const profile = mkdtempSync(join(tmpdir(), 'plimsoll-page-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.PAGE_BROWSER,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    viewport: DESK,
    timezoneId: 'Europe/Berlin',
    locale: 'en-GB',
    ...options,
  });
  const foreign = [];
  const faults = [];
  context.on('request', (request) => {
    if (new URL(request.url()).origin !== new URL(address).origin) foreign.push(request.url());
  });
  context.on('weberror', (error) => faults.push(error.error().message));
  context.on('console', (message) => { if (message.type() === 'error') faults.push(message.text()); });
  try {
    const page = context.pages()[0] ?? await context.newPage();
    page.setDefaultTimeout(WAIT);
    await check(page, context);
    assert.deepEqual(foreign, [], 'a request left the origin');
    const expected = (fault) => (name === 'refused' ? /status of 503/ : /status of (401|403|404)/).test(fault);
    assert.deepEqual(faults.filter((fault) => !expected(fault)), [], 'the browser told faults');
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}

const go = (page, path) => page.goto(new URL(path, address).href, { waitUntil: 'load' });

/** Kept for whoever wants to look: PAGE_PICTURES names a folder. */
async function picture(page, path, theme, size) {
  const folder = process.env.PAGE_PICTURES;
  if (!folder) return;
  const file = `${name}${path.replace(/[^a-z0-9]+/g, '-')}-${theme}-${size.width}`;
  await page.screenshot({ path: join(folder, `${file}.png`), fullPage: true });
}

/** Serious faults for somebody who cannot see, or uses no mouse. */
async function serious(page) {
  await page.addScriptTag({ path: axe });
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  return found.violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).slice(0, 3).join(' | ')}`);
}

const checks = {
  /** Every view, in both themes and on a phone, without serious faults and without anything beside the screen. */
  async accessible(page) {
    for (const theme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme: theme });
      for (const path of VIEWS) {
        for (const size of [DESK, PHONE]) {
          await page.setViewportSize(size);
          await go(page, path);
          const wide = await page.evaluate(() => document.documentElement.scrollWidth);
          assert.ok(wide <= size.width, `${path}: ${wide} px wide on ${size.width}`);
          await picture(page, path, theme, size);
          assert.deepEqual(await serious(page), [], `${path}, ${theme}, ${size.width}`);
        }
      }
    }
  },

  /** All of it can be read without a script, and the answer comes before everything else. */
  async without_script(page) {
    await go(page, '/');
    assert.match(await page.locator('h1').innerText(), /are burning; checkout-availability/);
    assert.equal(await page.locator('tbody tr').count(), 14);
    assert.match(await page.locator('tbody tr').first().innerText(), /Page\s+checkout-availability/);
    await page.getByLabel('Find').fill('search-lat');
    await page.getByRole('button', { name: 'Show' }).click();
    // A click waits for the next document's beginning, and what is counted is all of it.
    await page.waitForURL('**/?q=search-lat*');
    assert.equal(await page.locator('tbody tr').count(), 1);
    await page.getByRole('link', { name: 'search-latency' }).click();
    await page.waitForURL('**/slo/shop/search-latency*');
    assert.match(await page.locator('.answer').innerText(), /budget/);
    assert.ok(await page.locator('svg.plot').count() >= 6);
    assert.match(await page.locator('#tables').innerText(), /fires when more than/);
    await page.locator('summary', { hasText: 'Its rules' }).click();
    assert.match(await page.locator('#rules-text').innerText(), /slo:burn_rate:window/);
    await go(page, SLO);
    assert.match(await page.locator('.events').innerText(), /the SLO was changed: generation 3, by argocd/);
    await go(page, '/alertrules');
    assert.match(await page.locator('h1').innerText(), /^1 of 4 alerts fires; PodRestarting pages; 1 pending; 1 is broken\.$/);
    assert.match(await page.locator('tbody tr').first().innerText(), /Page\s+PodRestarting page\s+pods shop\s+payments/);
    await page.getByRole('link', { name: 'pods' }).first().click();
    await page.waitForURL(`**${RULE}*`);
    assert.match(await page.locator('#rows').innerText(), /increase\(kube_pod_container_status_restarts_total/);
    // When they fired, and the score and the band of the one that is an anomaly.
    assert.equal(await page.locator('svg.plot').count(), 3);
    assert.equal(await page.locator('.events li').count(), 3);
    await page.locator('summary', { hasText: 'Its rules' }).click();
    assert.match(await page.locator('#rules-text').innerText(), /plimsoll_anomaly_state/);
    await go(page, '/executions/shop/rollback-1');
    assert.equal(await page.locator('.steps > li').count(), 3);
    assert.ok(await page.getByRole('button', { name: 'Approve' }).isVisible());
  },

  /** What changes is seen without loading the page again, and nothing of the reader is lost. */
  async live(page) {
    await go(page, '/');
    await page.getByText('Live.').waitFor();
    const link = page.getByRole('link', { name: 'search-latency' });
    await link.focus();
    await page.evaluate(() => { window.sameDocument = true; });
    assert.equal(await page.locator('tr.page', { hasText: 'cart-availability' }).count(), 0);
    console.log('CHANGE');
    await page.locator('tr.page', { hasText: 'cart-availability' }).waitFor();
    assert.ok(await page.evaluate(() => window.sameDocument), 'the page was loaded again');
    assert.ok(await link.evaluate((element) => element === document.activeElement), 'the focus was lost');
  },

  /** Who is refused says since when nothing is new, and comes back. */
  async refused(page) {
    const refuse = (route) => route.fulfill({ status: 503, body: 'too many\n' });
    const live = page.getByText('Live.', { exact: true });
    await page.route('**/live', refuse);
    await go(page, '/');
    await page.getByText(/^Not live: the connection is being made again\. These are the numbers of \d\d:\d\d\.$/).waitFor();
    await page.unroute('**/live');
    await live.waitFor();
    // The view itself is refused when something has changed.
    const view = (url) => url.pathname === '/';
    await page.route(view, refuse);
    console.log('CHANGE');
    await page.getByText(/^Not live: the page does not answer\. These are the numbers of \d\d:\d\d\.$/).waitFor();
    assert.equal(await page.locator('tr.page', { hasText: 'cart-availability' }).count(), 0);
    await page.unroute(view);
    await page.locator('tr.page', { hasText: 'cart-availability' }).waitFor();
    await live.waitFor();
  },

  /** The keyboard reaches everything in the order in which it is read. */
  async keyboard(page) {
    await go(page, '/');
    const seen = [];
    for (let n = 0; n < 10; n += 1) {
      await page.keyboard.press('Tab');
      seen.push(await page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.name));
    }
    const wanted = ['Skip to the content', 'Plimsoll', 'SLOs', 'Alerts', 'Runbooks', 'Theme: system', 'q', 'label'];
    assert.deepEqual(seen.slice(0, 8), wanted);
    assert.match(seen[8], /^all \(14\)/);
    assert.equal(seen[9], 'Show');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'checkout-availability');
    await page.keyboard.press('Enter');
    await page.waitForURL(`**${SLO}`);
    // All charts are read at one time, with the arrow keys as with the mouse.
    await page.getByLabel('Time', { exact: true }).focus();
    const before = await page.locator('figcaption b').first().innerText();
    for (let n = 0; n < 60; n += 1) await page.keyboard.press('ArrowLeft');
    assert.match(await page.locator('#at').innerText(), /^All charts at \d/);
    assert.notEqual(await page.locator('figcaption b').first().innerText(), before);
    const at = await page.locator('svg.plot .cur[visibility=visible]').evaluateAll((lines) => lines.map((line) => line.getAttribute('x1')));
    assert.ok(at.length >= 6 && new Set(at).size === 1, `${at}`);
    // And the skip link leads past the header.
    await page.keyboard.press('Home');
    await go(page, '/');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  },

  /** The filter is the address, also while one writes; a theme is kept. */
  async filter(page) {
    await go(page, '/');
    await page.getByLabel('State').selectOption('burning');
    await page.waitForURL('**/?state=burning');
    await page.locator('.count').waitFor();
    assert.equal(await page.locator('tbody tr').count(), 2);
    await page.getByLabel('Find').pressSequentially('checkout');
    await page.waitForURL('**/?q=checkout&state=burning');
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1);
    await page.getByRole('button', { name: /^Theme/ }).click();
    await page.reload();
    assert.equal(await page.getByLabel('Find').inputValue(), 'checkout');
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'light');
  },

  /** A decision wants a token, and goes to whoever checks it. */
  async decide(page) {
    const path = '/executions/shop/rollback-1';
    await go(page, path);
    await page.getByLabel('Why').fill('agreed with the team');
    await page.getByRole('button', { name: 'Approve' }).click();
    // The browser itself asks for the token.
    assert.equal(await page.locator('#token:invalid').count(), 1);
    await page.getByLabel('Your bearer token').fill('of-nobody');
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.getByRole('alert').waitFor();
    assert.match(await page.getByRole('alert').innerText(), /Nothing was decided: .*Unauthorized/);
    assert.equal(await page.locator('#token').inputValue(), '');
    await page.getByLabel('Why').fill('agreed with the team');
    await page.getByLabel('Your bearer token').fill('of-eve');
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.waitForURL(`**${path}`);
    await page.getByText('Approve by eve').waitFor();
    assert.equal(await page.locator('#decide form').count(), 0);
    const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
    assert.ok(!kept.includes('of-eve'), kept);
  },

  /** A thousand SLOs are small; how long they take is told and not judged. */
  async thousand(page, context) {
    const session = await context.newCDPSession(page);
    await session.send('Network.enable');
    let bytes = 0;
    session.on('Network.loadingFinished', ({ encodedDataLength }) => { bytes += encodedDataLength; });
    await go(page, '/');
    assert.equal(await page.locator('tbody tr').count(), 1000);
    const { domContentLoadedEventEnd, loadEventEnd } = await page.evaluate(() => performance.getEntriesByType('navigation')[0].toJSON());
    console.log(`1,000 SLOs: ${bytes} bytes transferred, readable after ${Math.round(domContentLoadedEventEnd)} ms, loaded after ${Math.round(loadEventEnd)} ms`);
    assert.ok(bytes > 10_000 && bytes <= 300_000, `${bytes} bytes`);
    await picture(page, '/', 'light', DESK);
  },

  /** While Prometheus is away the last known values are there, and it is said that they are old. */
  async away(page) {
    await go(page, '/');
    assert.match(await page.locator('.trouble').innerText(), /These are the last known numbers, of .*does not answer/);
    assert.equal(await page.locator('tbody tr').count(), 14);
    assert.match(await page.locator('tbody tr').first().innerText(), /\d\s%/);
    await picture(page, '/', 'light', DESK);
  },

  /** Nothing there yet: what makes the first one. */
  async empty(page) {
    await go(page, '/');
    assert.equal(await page.locator('h1').innerText(), 'There is no SLO yet.');
    assert.equal(await page.locator('.first li').count(), 3);
    assert.deepEqual(await serious(page), []);
    await picture(page, '/', 'light', DESK);
  },
};

// Ends with its caller.
createInterface({ input: process.stdin }).on('close', () => process.exit(2));
assert.ok(checks[name], `there is no check ${name}`);
// The page's own policy lets no foreign script in, and so not axe-core: where that looks, it is set aside.
const OPTIONS = { accessible: { bypassCSP: true }, empty: { bypassCSP: true }, without_script: { javaScriptEnabled: false } };
await browsed(checks[name], OPTIONS[name] ?? {});
process.exit(0);
