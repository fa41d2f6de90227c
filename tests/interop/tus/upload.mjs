// Uploads a file with tus-js-client, and prints what it learnt as JSON.
//
//     node upload.mjs ENDPOINT TOKEN FILE '{"parallelUploads": 2, ...}'
//
// The options go to tus.Upload; "pauseAt": stop after so many bytes, tell the URL and end; with
// "uploadUrl" a later run goes on.
import { createReadStream } from 'node:fs'
import { PassThrough } from 'node:stream'
import * as tus from 'tus-js-client'

const [endpoint, token, path, text] = process.argv.slice(2)
const { pauseAt, ...options } = JSON.parse(text)
const file = createReadStream(path)
const source = options.uploadLengthDeferred ? file.pipe(new PassThrough()) : file

const told = await new Promise((resolve) => {
  let response = null
  const upload = new tus.Upload(source, {
    endpoint,
    headers: { Authorization: `Bearer ${token}` },
    metadata: { filename: 'film.mp4', filetype: 'video/mp4' },
    chunkSize: 300_000,
    retryDelays: [200, 500, 1000, 1000, 1000, 2000, 2000, 3000, 3000, 5000, 5000],
    ...options,
    onAfterResponse: (_, last) => {
      response = last
    },
    onProgress: (sent) => {
      if (pauseAt !== undefined && sent >= pauseAt) {
        upload.abort().then(() => resolve({ state: 'paused', url: upload.url }))
      }
    },
    onSuccess: () =>
      resolve({
        state: 'done',
        url: upload.url,
        mediaId: response.getHeader('Comity-Media-Id'),
      }),
    onError: (error) =>
      resolve({
        state: 'failed',
        status: error.originalResponse?.getStatus() ?? null,
        body: error.originalResponse?.getBody() ?? String(error),
      }),
  })
  upload.start()
})
console.log(JSON.stringify(told))
process.exit(0)
