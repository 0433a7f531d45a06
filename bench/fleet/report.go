//go:build unix

package main

import (
	"fmt"
	"io"
	"log"
	"strings"
)

// A report collects what trials have found.
type report struct {
	out    io.Writer
	tables []*table
	notes  []string
	broken []string // promises
}

// A table is a part of a report.
type table struct {
	title   string
	columns []string
	rows    [][]string
}

// row adds a row to the table with a title, which is made when it gets its first row.
func (r *report) row(title, columns string, cells ...any) {
	var t *table
	for _, old := range r.tables {
		if old.title == title {
			t = old
		}
	}
	if t == nil {
		t = &table{title: title, columns: strings.Split(columns, "|")}
		r.tables = append(r.tables, t)
	}
	var row []string
	for _, c := range cells {
		row = append(row, fmt.Sprint(c))
	}
	t.rows = append(t.rows, row)
	log.Print(strings.Join(row, " | ")) // to see how far it is
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
	log.Print(r.notes[len(r.notes)-1])
}

// promise records a broken promise unless it was kept.
func (r *report) promise(kept bool, format string, args ...any) {
	if !kept {
		r.broken = append(r.broken, fmt.Sprintf(format, args...))
		log.Print("BROKEN: ", r.broken[len(r.broken)-1])
	}
}

// print prints the report as Markdown, and reports whether all promises were kept.
func (r *report) print() bool {
	for _, t := range r.tables {
		fmt.Fprintf(r.out, "\n%s\n\n| %s |\n|%s\n", t.title, strings.Join(t.columns, " | "), strings.Repeat("---|", len(t.columns)))
		for _, row := range t.rows {
			fmt.Fprintf(r.out, "| %s |\n", strings.Join(row, " | "))
		}
	}
	fmt.Fprintln(r.out)
	for _, n := range r.notes {
		fmt.Fprintln(r.out, "-", n)
	}
	for _, b := range r.broken {
		fmt.Fprintln(r.out, "- BROKEN:", b)
	}
	if len(r.broken) == 0 {
		fmt.Fprintln(r.out, "- All promises were kept.")
	}
	return len(r.broken) == 0
}
